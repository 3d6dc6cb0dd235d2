"""Xception: Chollet, https://arxiv.org/abs/1610.02357."""

import dataclasses
from typing import Any, NamedTuple

import jax
from flax import nnx

from jds.models._arguments import check_no_drop_path
from jds.models._config import BatchNormConfig
from jds.models._network import Network, Parts
from jds.models._stages import Placement, build_stages
from jds.models._variant import HALF, Variant, keras, timm
from jds.nn import ConvNorm, LayerConfig, SeparableConv


class XceptionRow(NamedTuple):
    """A row of figure 5: separable convolutions with a skip connection.

    Attributes:
      widths: output channels of each convolution.
      strides: strides of the pooling.
    """

    widths: tuple[int, ...]
    strides: int

    @property
    def features(self) -> int:
        """Number of output channels of the block."""
        return self.widths[-1]


# Figure 5: entry flow, eight times the middle flow, the exit flow's first block
ROWS = (
    XceptionRow((128, 128), 2),
    XceptionRow((256, 256), 2),
    XceptionRow((728, 728), 2),
    *[XceptionRow((728, 728, 728), 1)] * 8,
    XceptionRow((728, 1024), 2),
)
STEM = (32, 64)
EXIT = (1536, 2048)


@dataclasses.dataclass(frozen=True, kw_only=True)
class XceptionConfig(BatchNormConfig):
    """Options of Xception; `output_stride` must be 32 and `drop_path` 0.

    Attributes:
      rows: the rows of figure 5.

    Example:
      >>> import jds
      >>> jds.models.XceptionConfig(dropout=0.5, num_classes=10).dropout
      0.5
    """

    rows: tuple[XceptionRow, ...] = ROWS

    def __post_init__(self):
        super().__post_init__()
        if self.output_stride != 32:
            raise ValueError(f"Xception: `output_stride` must be 32, got {self.output_stride}")
        check_no_drop_path("Xception", self)


class Xception(Network):
    """Xception: a deep stack of separable convolutions without a nonlinearity between depthwise and pointwise steps.

    From https://arxiv.org/abs/1610.02357. Its feature maps are taken after the activation at the start of the next
    block, as in timm.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.models.XceptionConfig(rows=(jds.models.xception.XceptionRow((8, 16), 2),))
      >>> model = jds.models.Xception(config, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: XceptionConfig, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        shared: dict[str, Any] = {"config": layer_config, "rngs": rngs}

        def make(features: int, row: XceptionRow, _: Placement) -> XceptionBlock:
            return XceptionBlock(features, row, starts_with_relu=row is not config.rows[0], **shared)

        stages = build_stages(config, STEM[-1], [[row] for row in config.rows], make)
        stages = stages.with_last(XceptionExit(config.rows[-1].features, **shared), EXIT[-1])
        return Parts(XceptionStem(config.in_features, **shared), stages, out_features=EXIT[-1])

    def features(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the last map of each stride, after the ReLU that starts the next block; see `Network.features`."""
        first, *between, last = super().features(images)
        return (first, *map(jax.nn.relu, between), last)


class XceptionStem(nnx.Module):
    """Two ordinary convolutions without padding."""

    def __init__(self, in_features: int, *, config: LayerConfig, rngs: nnx.Rngs):
        bare = dataclasses.replace(config.for_ordinary, padding="VALID")
        shared = {"activation": jax.nn.relu, "config": bare, "rngs": rngs}
        self.first = ConvNorm(in_features, STEM[0], 3, strides=2, **shared)
        self.second = ConvNorm(STEM[0], STEM[1], 3, **shared)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Applies both to `(batch, height, width, in_features)`."""
        return self.second(self.first(images))


class XceptionBlock(nnx.Module):
    """Separable convolutions and a pooling layer, with a skip connection."""

    def __init__(
        self, in_features: int, row: XceptionRow, *, starts_with_relu: bool, config: LayerConfig, rngs: nnx.Rngs
    ):
        self.starts_with_relu, self.strides, self.padding = starts_with_relu, row.strides, config.padding
        self.convs = nnx.List()
        features = in_features
        for wide in row.widths:
            self.convs.append(separable(features, wide, config, rngs))
            features = wide
        is_same = row.strides == 1 and in_features == features
        self.skip = nnx.data(
            None if is_same else ConvNorm(in_features, features, strides=row.strides, config=config, rngs=rngs)
        )

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the block to `(batch, height, width, in_features)`."""
        x = inputs
        for number, layer in enumerate(self.convs):
            x = layer(jax.nn.relu(x) if number or self.starts_with_relu else x)
        if self.strides > 1:
            pads: Any = "SAME" if self.padding == "SAME" else ((1, 1), (1, 1))
            x = nnx.max_pool(x, (3, 3), strides=(self.strides,) * 2, padding=pads)
        return x + (inputs if self.skip is None else self.skip(inputs))


class XceptionExit(nnx.Module):
    """Two separable convolutions, each followed by ReLU."""

    def __init__(self, in_features: int, *, config: LayerConfig, rngs: nnx.Rngs):
        self.convs = nnx.List()
        for features in EXIT:
            self.convs.append(separable(in_features, features, config, rngs))
            in_features = features

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies both to `(batch, height, width, in_features)`."""
        for layer in self.convs:
            inputs = jax.nn.relu(layer(inputs))
        return inputs


def separable(in_features: int, out_features: int, config: LayerConfig, rngs: nnx.Rngs) -> SeparableConv:
    """Returns a separable convolution with a single normalization, at the end."""
    return SeparableConv(
        in_features,
        out_features,
        (3, 3),
        padding=config.pads((3, 3), (1, 1), (1, 1)),
        pointwise_norm=config.norm,
        use_bias=False,
        dtype=config.dtype,
        param_dtype=config.param_dtype,
        kernel_init=config.kernel_init,
        implementation=config.implementation,
        rngs=rngs,
    )


VARIANTS: tuple[Variant, ...] = (
    timm("legacy_xception", Xception, XceptionConfig(dropout=0.5), image_size=299, crop=0.8975, mean=HALF, std=HALF),
    keras("keras/Xception", Xception, XceptionConfig(), image_size=299, mean=HALF, std=HALF),
)
