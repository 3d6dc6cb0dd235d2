"""MobileNet V2: Sandler et al., https://arxiv.org/abs/1801.04381."""

import dataclasses
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._config import BatchNormConfig
from jds.models._inverted_stages import InvertedRow, inverted_parts, repeated, round_features, scaled
from jds.models._network import Network, Parts
from jds.models._variant import HALF, Variant, keras, timm, torchvision
from jds.nn import LayerConfig


class MobileNetV2Row(NamedTuple):
    """A row of table 2: `repeats` blocks, of which only the first has strides."""

    expansion: int
    features: int
    repeats: int
    strides: int


# Table 2: expansion, features, repeats, strides
ROWS = (
    MobileNetV2Row(1, 16, 1, 1),
    MobileNetV2Row(6, 24, 2, 2),
    MobileNetV2Row(6, 32, 3, 2),
    MobileNetV2Row(6, 64, 4, 2),
    MobileNetV2Row(6, 96, 3, 1),
    MobileNetV2Row(6, 160, 3, 2),
    MobileNetV2Row(6, 320, 1, 1),
)
STEM, HEAD = 32, 1280


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV2Config(BatchNormConfig):
    """Options of MobileNet V2.

    Attributes:
      rows: the rows of table 2 at width 1.
      width: multiplier of all numbers of features, which are rounded to multiples of 8; the head's is never reduced.
      depth: multiplier of the repeats of each row, which are rounded up.
      fixed_ends: whether stem, head, and the first and last row's repeats ignore width and depth.

    Example:
      >>> import jds
      >>> jds.models.MobileNetV2Config(width=0.5, num_classes=10).num_classes
      10
    """

    rows: tuple[MobileNetV2Row, ...] = ROWS
    width: float = 1.0
    depth: float = 1.0
    fixed_ends: bool = False
    dropout: float = 0.2


class MobileNetV2(Network):
    """MobileNet V2: inverted residuals with linear bottlenecks.

    From https://arxiv.org/abs/1801.04381.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.models.MobileNetV2Config(rows=jds.models.mobilenet_v2.ROWS[:3], num_classes=10)
      >>> model = jds.models.MobileNetV2(config, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 10)
    """

    @staticmethod
    def _parts(config: MobileNetV2Config, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        def wide(features: int, fixed: bool = False) -> int:
            return features if fixed else round_features(features * config.width)

        stages = []
        for place, row in enumerate(config.rows):
            scales = 0 < place < len(config.rows) - 1 or not config.fixed_ends
            block = InvertedRow(wide(row.features), row.strides, expansion=row.expansion, activation=jax.nn.relu6)
            stages.append(repeated(block, scaled(row.repeats, config.depth if scales else 1)))
        stem, head = wide(STEM, config.fixed_ends), HEAD if config.fixed_ends else max(HEAD, wide(HEAD))
        return inverted_parts(config, stem, stages, head, jax.nn.relu6, layer_config, rngs)


VARIANTS: tuple[Variant, ...] = (
    timm("mobilenetv2_035", MobileNetV2, MobileNetV2Config(width=0.35)),
    timm("mobilenetv2_050", MobileNetV2, MobileNetV2Config(width=0.5)),
    timm("mobilenetv2_075", MobileNetV2, MobileNetV2Config(width=0.75)),
    timm("mobilenetv2_100", MobileNetV2, MobileNetV2Config()),
    timm("mobilenetv2_140", MobileNetV2, MobileNetV2Config(width=1.4)),
    timm("mobilenetv2_110d", MobileNetV2, MobileNetV2Config(width=1.1, depth=1.2, fixed_ends=True)),
    timm("mobilenetv2_120d", MobileNetV2, MobileNetV2Config(width=1.2, depth=1.4, fixed_ends=True)),
    torchvision("torchvision/mobilenet_v2", MobileNetV2, MobileNetV2Config(), resize=232),
    keras("keras/MobileNetV2", MobileNetV2, MobileNetV2Config(momentum=0.999), mean=HALF, std=HALF),
)
