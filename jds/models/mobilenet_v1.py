"""MobileNet V1: Howard et al., MobileNets, https://arxiv.org/abs/1704.04861."""

import dataclasses
from typing import Any, NamedTuple

import jax
from flax import nnx

from jds.models._arguments import check_no_drop_path
from jds.models._network import Network, NetworkConfig, Parts, Placement, build_stages
from jds.models._rounding import round_features
from jds.nn import ConvNorm, SeparableConv, Style
from jds.ops._fused_block import Activation


class Row(NamedTuple):
    """One block of table 1."""

    features: int
    strides: int


# Table 1: the first convolution, then 13 blocks, those of one size together. Features are at width 1.
STEM = Row(32, 2)
# features, strides
ROWS = (
    (Row(64, 1),),
    (Row(128, 2), Row(128, 1)),
    (Row(256, 2), Row(256, 1)),
    (Row(512, 2), *[Row(512, 1)] * 5),
    (Row(1024, 2), Row(1024, 1)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV1Config(NetworkConfig):
    """Of MobileNet V1; its `drop_path` is 0, for its blocks have no way around.

    Attributes:
      rows: of table 1, at width 1, a stage at a time.
      width: each number of features is multiplied by it and rounded to a multiple of 8.
      separable: False for the twin of ordinary convolutions, the network of the paper's table 4.
      stem_stride: stride of the first convolution; 1 suits small images.
      activation: throughout.
      pads_end: whether strided depthwise filters see a row and a column more at the end, and none at the start, as in
        Keras's own; it matters where an image's size is odd.

    Example:
      >>> import jds
      >>> jds.models.MobileNetV1Config(width=0.25, stem_stride=1).stem_stride
      1
    """

    rows: tuple[tuple[Row, ...], ...] = ROWS
    width: float = 1.0
    separable: bool = True
    stem_stride: int = STEM.strides
    activation: Activation = jax.nn.relu
    pads_end: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_no_drop_path("MobileNetV1", self)


class MobileNetV1(Network):
    """MobileNet V1, or its twin of ordinary convolutions.

    A 3×3 convolution of stride 2, 13 depthwise separable blocks with batch normalisation and ReLU after each half, the
    mean over all positions, and a linear classifier. From MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      config: its rows and all else.
      rngs: gives the keys `params` and `dropout`.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> model = jds.models.MobileNetV1(jds.models.MobileNetV1Config(width=0.25, num_classes=10), rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 64, 64, 3))).shape
      (1, 10)
    """

    @staticmethod
    def _parts(config: MobileNetV1Config, style: Style, rngs: nnx.Rngs) -> Parts:
        ordinary = dataclasses.replace(style, implementation="xla" if style.implementation == "xla" else None)
        shared: dict[str, Any] = {"activation": config.activation, "rngs": rngs}

        def make(features: int, row: Row, place: Placement) -> nnx.Module:
            strides, dilation, _ = place
            if not config.separable:
                return ConvNorm(
                    features, row.features, 3, strides=strides, kernel_dilation=dilation, style=ordinary, **shared
                )
            window: dict[str, Any] = {"strides": (strides, strides), "kernel_dilation": (dilation, dilation)}
            return SeparableConv(
                features,
                row.features,
                (3, 3),
                **window,
                padding=((0, 1), (0, 1)) if config.pads_end and strides > 1 else style.pads((3, 3), **window),
                depthwise_norm=style.norm,
                depthwise_activation=config.activation,
                pointwise_norm=style.norm,
                pointwise_activation=config.activation,
                use_bias=False,
                dtype=style.dtype,
                param_dtype=style.param_dtype,
                kernel_init=style.kernel_init,
                implementation=style.implementation,
                rngs=rngs,
            )

        rows = [
            [row._replace(features=round_features(row.features * config.width)) for row in stage]
            for stage in config.rows
        ]
        stem = round_features(STEM.features * config.width)
        first = ConvNorm(config.in_features, stem, 3, strides=config.stem_stride, style=ordinary, **shared)
        stages, info, ends = build_stages(config, stem, rows, make, stride=config.stem_stride)
        return Parts(first, stages, info, ends, out_features=rows[-1][-1].features)
