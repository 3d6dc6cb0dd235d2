"""MobileNet V3: Howard et al., Searching for MobileNetV3, https://arxiv.org/abs/1905.02244."""

import dataclasses
import functools
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._config import BatchNormConfig
from jds.models._inverted_stages import InvertedRow, inverted_stages, round_features
from jds.models._network import Network, Parts
from jds.models._variant import HALF, Variant, keras, timm, timm_tf, torchvision_tf
from jds.nn import Activation, ConvNorm, LayerConfig

_relu, _swish = jax.nn.relu, jax.nn.hard_swish


class MobileNetV3Row(NamedTuple):
    """A row of table 1 or 2: one block. With an expansion of 1, it has no expansion layer.

    The expansion is relative to the block's input, and so it scales with the width.
    """

    kernel: int
    expansion: float
    features: int
    use_squeeze: bool
    activation: Activation
    strides: int


_R = MobileNetV3Row

# Table 1: kernel, expansion, features, squeeze and excitation, activation, strides
LARGE = (
    (_R(3, 1, 16, False, _relu, 1),),
    (_R(3, 4, 24, False, _relu, 2), _R(3, 3, 24, False, _relu, 1)),
    (_R(5, 3, 40, True, _relu, 2), *[_R(5, 3, 40, True, _relu, 1)] * 2),
    (
        _R(3, 6, 80, False, _swish, 2),
        _R(3, 2.5, 80, False, _swish, 1),
        *[_R(3, 2.3, 80, False, _swish, 1)] * 2,
    ),
    (*[_R(3, 6, 112, True, _swish, 1)] * 2,),
    (_R(5, 6, 160, True, _swish, 2), *[_R(5, 6, 160, True, _swish, 1)] * 2),
)
# Table 2
SMALL = (
    (_R(3, 1, 16, True, _relu, 2),),
    (_R(3, 4.5, 24, False, _relu, 2), _R(3, 3.67, 24, False, _relu, 1)),
    (_R(5, 4, 40, True, _swish, 2), *[_R(5, 6, 40, True, _swish, 1)] * 2),
    (*[_R(5, 3, 48, True, _swish, 1)] * 2,),
    (_R(5, 6, 96, True, _swish, 2), *[_R(5, 6, 96, True, _swish, 1)] * 2),
)
STEM = 16


def minimalistic(rows: tuple[tuple[MobileNetV3Row, ...], ...]) -> tuple[tuple[MobileNetV3Row, ...], ...]:
    """Returns the authors' variant for simple hardware: ReLU, 3×3 filters, no squeeze and excitation."""
    return tuple(tuple(row._replace(kernel=3, use_squeeze=False, activation=_relu) for row in stage) for stage in rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV3Config(BatchNormConfig):
    """Options of MobileNet V3.

    Attributes:
      rows: the rows of table 1 or 2 at width 1, grouped by stage.
      last: output channels of the last convolution before the pooling, at width 1.
      hidden: number of features of the layer before the classifier, at any width.
      activation: activation of the stem, the last convolution and the hidden layer.
      width: multiplier of all other numbers of features, which are rounded to multiples of 8.
      fixed_stem: whether the stem ignores the width.

    Example:
      >>> import jds
      >>> jds.models.MobileNetV3Config(width=0.75, num_classes=10).dropout
      0.2
    """

    rows: tuple[tuple[MobileNetV3Row, ...], ...] = LARGE
    last: int = 960
    hidden: int = 1280
    activation: Activation = _swish
    width: float = 1.0
    fixed_stem: bool = False
    dropout: float = 0.2


class MobileNetV3(Network):
    """MobileNet V3, large by default.

    From https://arxiv.org/abs/1905.02244.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> rows = jds.models.mobilenet_v3.SMALL[:3]
      >>> small = jds.models.MobileNetV3Config(rows=rows, last=576, hidden=1024, width=0.35)
      >>> model = jds.models.MobileNetV3(small, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: MobileNetV3Config, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        def wide(features: int) -> int:
            return round_features(features * config.width)

        stages = [
            [
                InvertedRow(
                    wide(row.features),
                    row.strides,
                    (row.kernel,),
                    row.expansion,
                    squeeze_features=(lambda _, expanded_features: round_features(expanded_features / 4))
                    if row.use_squeeze
                    else None,
                    activation=row.activation,
                    gate=jax.nn.hard_sigmoid,
                )
                for row in stage
            ]
            for stage in config.rows
        ]
        stem, last = STEM if config.fixed_stem else wide(STEM), wide(config.last)
        shared = {"activation": config.activation, "config": layer_config, "rngs": rngs}
        first = ConvNorm(
            config.in_features,
            stem,
            3,
            strides=2,
            activation=config.activation,
            config=layer_config.for_ordinary,
            rngs=rngs,
        )
        blocks = inverted_stages(config, stem, stages, layer_config, rngs, others=1)
        blocks = blocks.with_last(ConvNorm(stages[-1][-1].features, last, **shared), last)
        neck = ConvNorm(last, config.hidden, use_norm=False, **shared)
        return Parts(first, blocks, neck=neck, out_features=config.hidden)


_small = functools.partial(MobileNetV3Config, rows=SMALL, last=576, hidden=1024)

VARIANTS: tuple[Variant, ...] = (
    timm("mobilenetv3_large_075", MobileNetV3, MobileNetV3Config(width=0.75), interpolation="bilinear"),
    timm("mobilenetv3_large_100", MobileNetV3, MobileNetV3Config()),
    timm("mobilenetv3_small_050", MobileNetV3, _small(width=0.5, fixed_stem=True)),
    timm("mobilenetv3_small_075", MobileNetV3, _small(width=0.75)),
    timm("mobilenetv3_small_100", MobileNetV3, _small()),
    timm_tf(
        "tf_mobilenetv3_large_075",
        MobileNetV3,
        MobileNetV3Config(width=0.75),
        interpolation="bilinear",
        mean=HALF,
        std=HALF,
    ),
    timm_tf(
        "tf_mobilenetv3_large_100", MobileNetV3, MobileNetV3Config(), interpolation="bilinear", mean=HALF, std=HALF
    ),
    timm_tf("tf_mobilenetv3_small_075", MobileNetV3, _small(width=0.75), interpolation="bilinear", mean=HALF, std=HALF),
    timm_tf("tf_mobilenetv3_small_100", MobileNetV3, _small(), interpolation="bilinear", mean=HALF, std=HALF),
    timm_tf(
        "tf_mobilenetv3_large_minimal_100",
        MobileNetV3,
        MobileNetV3Config(rows=minimalistic(LARGE), activation=jax.nn.relu),
        interpolation="bilinear",
        mean=HALF,
        std=HALF,
    ),
    timm_tf(
        "tf_mobilenetv3_small_minimal_100",
        MobileNetV3,
        _small(rows=minimalistic(SMALL), activation=jax.nn.relu),
        interpolation="bilinear",
        mean=HALF,
        std=HALF,
    ),
    torchvision_tf("torchvision/mobilenet_v3_large", MobileNetV3, MobileNetV3Config(), resize=232),
    torchvision_tf("torchvision/mobilenet_v3_small", MobileNetV3, _small()),
    keras("keras/MobileNetV3Large", MobileNetV3, MobileNetV3Config(momentum=0.999), mean=HALF, std=HALF),
    keras("keras/MobileNetV3Small", MobileNetV3, _small(momentum=0.999), mean=HALF, std=HALF),
)
