"""MobileNet V1: Howard et al., MobileNets, https://arxiv.org/abs/1704.04861."""

import dataclasses
from typing import Any, NamedTuple

import jax
from flax import nnx

from jds.models._arguments import check_no_drop_path
from jds.models._config import BatchNormConfig
from jds.models._inverted_stages import round_features
from jds.models._network import Network, Parts
from jds.models._stages import Placement, build_stages
from jds.models._variant import HALF, Variant, keras, timm
from jds.nn import Activation, ConvNorm, LayerConfig, SeparableConv


class MobileNetV1Row(NamedTuple):
    """A row of table 1: one block."""

    features: int
    strides: int


# Table 1: the first convolution, then 13 blocks grouped by size. Features are for width 1.
STEM = MobileNetV1Row(32, 2)
# features, strides
ROWS = (
    (MobileNetV1Row(64, 1),),
    (MobileNetV1Row(128, 2), MobileNetV1Row(128, 1)),
    (MobileNetV1Row(256, 2), MobileNetV1Row(256, 1)),
    (MobileNetV1Row(512, 2), *[MobileNetV1Row(512, 1)] * 5),
    (MobileNetV1Row(1024, 2), MobileNetV1Row(1024, 1)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV1Config(BatchNormConfig):
    """Options of MobileNet V1; `drop_path` must be 0, because the blocks have no skip connections.

    Attributes:
      rows: the rows of table 1 at width 1, grouped by stage.
      width: multiplier of all numbers of features, which are rounded to multiples of 8.
      separable: whether convolutions are separable; if False, they are ordinary, as in the paper's table 4.
      stem_stride: stride of the first convolution; 1 suits small images.
      activation: activation of all layers.
      pads_end: whether strided depthwise convolutions are padded by one row and column at the end and none at the
        start, as in Keras; this matters if an image's size is odd.

    Example:
      >>> import jds
      >>> jds.models.MobileNetV1Config(width=0.25, stem_stride=1).stem_stride
      1
    """

    rows: tuple[tuple[MobileNetV1Row, ...], ...] = ROWS
    width: float = 1.0
    separable: bool = True
    stem_stride: int = STEM.strides
    activation: Activation = jax.nn.relu
    pads_end: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_no_drop_path("MobileNetV1", self)


class MobileNetV1(Network):
    """MobileNet V1, or its counterpart with ordinary convolutions.

    A 3×3 convolution with stride 2, 13 depthwise separable blocks with batch normalization and ReLU after each step,
    global average pooling, and a linear classifier. From MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> model = jds.models.MobileNetV1(jds.models.MobileNetV1Config(width=0.25, num_classes=10), rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 64, 64, 3))).shape
      (1, 10)
    """

    @staticmethod
    def _parts(config: MobileNetV1Config, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        ordinary: dict[str, Any] = {
            "activation": config.activation,
            "config": layer_config.for_ordinary,
            "rngs": rngs,
        }

        def make(features: int, row: MobileNetV1Row, place: Placement) -> nnx.Module:
            strides, dilation, _ = place
            if not config.separable:
                return ConvNorm(features, row.features, 3, strides=strides, kernel_dilation=dilation, **ordinary)
            window: dict[str, Any] = {"strides": (strides, strides), "kernel_dilation": (dilation, dilation)}
            return SeparableConv(
                features,
                row.features,
                (3, 3),
                **window,
                padding=((0, 1), (0, 1)) if config.pads_end and strides > 1 else layer_config.pads((3, 3), **window),
                depthwise_norm=layer_config.norm,
                depthwise_activation=config.activation,
                pointwise_norm=layer_config.norm,
                pointwise_activation=config.activation,
                use_bias=False,
                dtype=layer_config.dtype,
                param_dtype=layer_config.param_dtype,
                kernel_init=layer_config.kernel_init,
                implementation=layer_config.implementation,
                rngs=rngs,
            )

        rows = [
            [row._replace(features=round_features(row.features * config.width)) for row in stage]
            for stage in config.rows
        ]
        stem = round_features(STEM.features * config.width)
        first = ConvNorm(config.in_features, stem, 3, strides=config.stem_stride, **ordinary)
        stages = build_stages(config, stem, rows, make, stride=config.stem_stride)
        return Parts(first, stages, out_features=rows[-1][-1].features)


VARIANTS: tuple[Variant, ...] = (
    timm("mobilenetv1_100", MobileNetV1, MobileNetV1Config(activation=jax.nn.relu6), mean=HALF, std=HALF),
    timm(
        "mobilenetv1_125",
        MobileNetV1,
        MobileNetV1Config(width=1.25, activation=jax.nn.relu6),
        crop=0.9,
        mean=HALF,
        std=HALF,
    ),
    keras(
        "keras/MobileNet", MobileNetV1, MobileNetV1Config(activation=jax.nn.relu6, pads_end=True), mean=HALF, std=HALF
    ),
)
