"""ConvNeXt: Liu et al., A ConvNet for the 2020s, https://arxiv.org/abs/2201.03545."""

import dataclasses
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._config import NetworkConfig
from jds.models._network import Network, Parts
from jds.models._stages import Feature, Stages, StridePlan
from jds.models._variant import Variant, keras, timm, torchvision
from jds.nn import ConvNeXtBlock, LayerConfig
from jds.nn._conv import OrdinaryConv


class ConvNeXtRow(NamedTuple):
    """A stage: its number of channels and of blocks."""

    features: int
    repeats: int


def rows(features: int, repeats: tuple[int, int, int, int]) -> tuple[ConvNeXtRow, ...]:
    """Returns four stages, each twice as wide as the previous one."""
    return tuple(ConvNeXtRow(features * 2**number, count) for number, count in enumerate(repeats))


# Tiny to large are from section 3 of the paper, smaller ones from https://github.com/huggingface/pytorch-image-models.
ATTO, FEMTO, PICO = (rows(features, (2, 2, 6, 2)) for features in (40, 48, 64))
NANO = rows(80, (2, 2, 8, 2))
TINY = rows(96, (3, 3, 9, 3))
SMALL, BASE, LARGE = (rows(features, (3, 3, 27, 3)) for features in (96, 128, 192))

STEM_STRIDE = 4
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvNeXtConfig(NetworkConfig):
    """Options of ConvNeXt, which uses layer normalization instead of batch normalization.

    Attributes:
      rows: the stages.
      layer_scale: initial value of the per-channel scale of each block's result; None disables it.

    Example:
      >>> import jds
      >>> jds.models.ConvNeXtConfig(rows=jds.models.convnext.ATTO).drop_path
      0.1
    """

    rows: tuple[ConvNeXtRow, ...] = TINY
    layer_scale: float | None = 1e-6
    drop_path: float = 0.1


class ConvNeXt(Network):
    """ConvNeXt, tiny by default.

    From https://arxiv.org/abs/2201.03545.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.models.ConvNeXtConfig(rows=jds.models.convnext.rows(8, (1, 1, 2, 1)))
      >>> model = jds.models.ConvNeXt(config, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 64, 64, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: ConvNeXtConfig, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        features = config.rows[0].features
        stem = ConvNeXtStem(config.in_features, features, config=layer_config, rngs=rngs)
        plan = StridePlan(STEM_STRIDE, config.output_stride)
        count, number = sum(row.repeats for row in config.rows), 0
        stages, info = nnx.List(), []
        for place, row in enumerate(config.rows):
            blocks = nnx.List()
            if place:
                strides, _ = plan.next(2)
                window = {"strides": strides, "kernel_dilation": 1 if plan.dilation <= 2 else 2}
                # Its filter is padded if it or a later filter is dilated.
                blocks.append(
                    ConvNeXtDownsample(
                        features, row.features, **window, same=plan.dilation > 1, config=layer_config, rngs=rngs
                    )
                )
            features = row.features
            for _ in range(row.repeats):
                blocks.append(
                    ConvNeXtBlock(
                        features,
                        kernel_dilation=plan.dilation,
                        layer_scale=config.layer_scale,
                        epsilon=_EPSILON,
                        drop_path=config.drop_path * number / max(1, count - 1),
                        config=layer_config,
                        rngs=rngs,
                    )
                )
                number += 1
            stages.append(blocks)
            info.append(Feature(plan.stride, features))
        neck = _norm(features, layer_config, rngs)
        return Parts(stem, Stages(stages, tuple(info), tuple(range(len(info)))), neck=neck, out_features=features)


class ConvNeXtStem(nnx.Module):
    """A 4×4 patch embedding and a normalization."""

    def __init__(self, in_features: int, out_features: int, *, config: LayerConfig, rngs: nnx.Rngs):
        self.conv = _conv(in_features, out_features, STEM_STRIDE, STEM_STRIDE, 1, "VALID", config, rngs)
        self.norm = _norm(out_features, config, rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Applies both to `(batch, height, width, in_features)`."""
        return self.norm(self.conv(images))


class ConvNeXtDownsample(nnx.Module):
    """A normalization and a 2×2 convolution."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        strides: int,
        kernel_dilation: int,
        same: bool,
        config: LayerConfig,
        rngs: nnx.Rngs,
    ):
        self.norm = _norm(in_features, config, rngs)
        pads = "SAME" if same else "VALID"
        self.conv = _conv(in_features, out_features, 2, strides, kernel_dilation, pads, config, rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies both to `(batch, height, width, in_features)`."""
        return self.conv(self.norm(inputs))


def _norm(features: int, config: LayerConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(features, epsilon=_EPSILON, dtype=config.dtype, param_dtype=config.param_dtype, rngs=rngs)


def _conv(
    in_features: int,
    out_features: int,
    kernel: int,
    strides: int,
    kernel_dilation: int,
    padding: str,
    config: LayerConfig,
    rngs: nnx.Rngs,
) -> OrdinaryConv:
    return OrdinaryConv(
        in_features,
        out_features,
        (kernel, kernel),
        strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        dtype=config.dtype,
        param_dtype=config.param_dtype,
        kernel_init=config.kernel_init,
        implementation=config.for_ordinary.implementation,
        rngs=rngs,
    )


VARIANTS: tuple[Variant, ...] = (
    timm("convnext_atto", ConvNeXt, ConvNeXtConfig(rows=ATTO)),
    timm("convnext_femto", ConvNeXt, ConvNeXtConfig(rows=FEMTO)),
    timm("convnext_pico", ConvNeXt, ConvNeXtConfig(rows=PICO)),
    timm("convnext_nano", ConvNeXt, ConvNeXtConfig(rows=NANO), crop=0.95),
    timm("convnext_tiny", ConvNeXt, ConvNeXtConfig(), crop=0.95),
    timm("convnext_small", ConvNeXt, ConvNeXtConfig(rows=SMALL, drop_path=0.4), crop=0.95),
    timm("convnext_base", ConvNeXt, ConvNeXtConfig(rows=BASE, drop_path=0.5)),
    timm("convnext_large", ConvNeXt, ConvNeXtConfig(rows=LARGE, drop_path=0.5)),
    torchvision("torchvision/convnext_tiny", ConvNeXt, ConvNeXtConfig(), resize=236),
    torchvision("torchvision/convnext_small", ConvNeXt, ConvNeXtConfig(rows=SMALL, drop_path=0.4), resize=230),
    torchvision("torchvision/convnext_base", ConvNeXt, ConvNeXtConfig(rows=BASE, drop_path=0.5), resize=232),
    torchvision("torchvision/convnext_large", ConvNeXt, ConvNeXtConfig(rows=LARGE, drop_path=0.5), resize=232),
    keras("keras/ConvNeXtTiny", ConvNeXt, ConvNeXtConfig()),
    keras("keras/ConvNeXtSmall", ConvNeXt, ConvNeXtConfig(rows=SMALL, drop_path=0.4)),
    keras("keras/ConvNeXtBase", ConvNeXt, ConvNeXtConfig(rows=BASE, drop_path=0.5)),
    keras("keras/ConvNeXtLarge", ConvNeXt, ConvNeXtConfig(rows=LARGE, drop_path=0.5)),
)
