"""MobileNet V4: Qin et al., MobileNetV4: Universal Models for the Mobile Ecosystem, https://arxiv.org/abs/2404.10518."""

import dataclasses
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._config import BatchNormConfig
from jds.models._inverted_stages import round_features
from jds.models._network import Network, Parts
from jds.models._stages import Placement, build_stages
from jds.models._variant import HALF, Variant, timm
from jds.nn import Activation, ConvNorm, FusedResidual, LayerConfig, MultiQueryAttention, UniversalInvertedResidual
from jds.nn._convnext import gelu


class Conv(NamedTuple):
    """An ordinary convolution."""

    kernel: int
    features: int
    strides: int


class Fused(NamedTuple):
    """A fused inverted bottleneck."""

    kernel: int
    expansion: float
    features: int
    strides: int


class Universal(NamedTuple):
    """A universal inverted bottleneck, with the filter sizes of its two depthwise steps; 0 omits a step."""

    start: int
    middle: int
    expansion: float
    features: int
    strides: int = 1


class Attention(NamedTuple):
    """Mobile multi-query attention; `key_strides` downsample the keys and values."""

    heads: int
    head_features: int
    key_strides: int
    features: int
    strides: int = 1


MobileNetV4Row = Conv | Fused | Universal | Attention
Rows = tuple[tuple[MobileNetV4Row, ...], ...]
_U, _A = Universal, Attention

# Tables 10 to 14. Universal: first and second depthwise size, expansion, features, strides. Attention: heads, features
# per head, strides of keys, features.
CONV_SMALL: Rows = (
    (Conv(3, 32, 2), Conv(1, 32, 1)),
    (Conv(3, 96, 2), Conv(1, 64, 1)),
    (_U(5, 5, 3, 96, 2), *[_U(0, 3, 2, 96)] * 4, _U(3, 0, 4, 96)),
    (_U(3, 3, 6, 128, 2), _U(5, 5, 4, 128), _U(0, 5, 4, 128), _U(0, 5, 3, 128), *[_U(0, 3, 4, 128)] * 2),
)
CONV_MEDIUM: Rows = (
    (Fused(3, 4, 48, 2),),
    (_U(3, 5, 4, 80, 2), _U(3, 3, 2, 80)),
    (
        _U(3, 5, 6, 160, 2),
        *[_U(3, 3, 4, 160)] * 2,
        _U(3, 5, 4, 160),
        _U(3, 3, 4, 160),
        _U(3, 0, 4, 160),
        _U(0, 0, 2, 160),
        _U(3, 0, 4, 160),
    ),
    (
        _U(5, 5, 6, 256, 2),
        _U(5, 5, 4, 256),
        *[_U(3, 5, 4, 256)] * 2,
        _U(0, 0, 4, 256),
        _U(3, 0, 4, 256),
        _U(3, 5, 2, 256),
        _U(5, 5, 4, 256),
        *[_U(0, 0, 4, 256)] * 2,
        _U(5, 0, 2, 256),
    ),
)
CONV_LARGE: Rows = (
    (Fused(3, 4, 48, 2),),
    (_U(3, 5, 4, 96, 2), _U(3, 3, 4, 96)),
    (
        _U(3, 5, 4, 192, 2),
        *[_U(3, 3, 4, 192)] * 3,
        _U(3, 5, 4, 192),
        *[_U(5, 3, 4, 192)] * 5,
        _U(3, 0, 4, 192),
    ),
    (
        _U(5, 5, 4, 512, 2),
        *[_U(5, 5, 4, 512)] * 3,
        _U(5, 0, 4, 512),
        _U(5, 3, 4, 512),
        *[_U(5, 0, 4, 512)] * 2,
        _U(5, 3, 4, 512),
        _U(5, 5, 4, 512),
        *[_U(5, 0, 4, 512)] * 3,
    ),
)
HYBRID_MEDIUM: Rows = (
    (Fused(3, 4, 48, 2),),
    (_U(3, 5, 4, 80, 2), _U(3, 3, 2, 80)),
    (
        _U(3, 5, 6, 160, 2),
        _U(0, 0, 2, 160),
        _U(3, 3, 4, 160),
        _U(3, 5, 4, 160),
        _A(4, 64, 2, 160),
        _U(3, 3, 4, 160),
        _A(4, 64, 2, 160),
        _U(3, 0, 4, 160),
        _A(4, 64, 2, 160),
        _U(3, 3, 4, 160),
        _A(4, 64, 2, 160),
        _U(3, 0, 4, 160),
    ),
    (
        _U(5, 5, 6, 256, 2),
        _U(5, 5, 4, 256),
        *[_U(3, 5, 4, 256)] * 2,
        _U(0, 0, 2, 256),
        _U(3, 5, 2, 256),
        _U(0, 0, 2, 256),
        _U(0, 0, 4, 256),
        _A(4, 64, 1, 256),
        _U(3, 0, 4, 256),
        _A(4, 64, 1, 256),
        _U(5, 5, 4, 256),
        _A(4, 64, 1, 256),
        _U(5, 0, 4, 256),
        _A(4, 64, 1, 256),
        _U(5, 0, 4, 256),
    ),
)
HYBRID_LARGE: Rows = (
    (Fused(3, 4, 48, 2),),
    (_U(3, 5, 4, 96, 2), _U(3, 3, 4, 96)),
    (
        _U(3, 5, 4, 192, 2),
        *[_U(3, 3, 4, 192)] * 3,
        _U(3, 5, 4, 192),
        *[_U(5, 3, 4, 192)] * 2,
        *(_A(8, 48, 2, 192), _U(5, 3, 4, 192)) * 3,
        _A(8, 48, 2, 192),
        _U(3, 0, 4, 192),
    ),
    (
        _U(5, 5, 4, 512, 2),
        *[_U(5, 5, 4, 512)] * 3,
        _U(5, 0, 4, 512),
        _U(5, 3, 4, 512),
        *[_U(5, 0, 4, 512)] * 2,
        _U(5, 3, 4, 512),
        _U(5, 5, 4, 512),
        *(_A(8, 64, 1, 512), _U(5, 0, 4, 512)) * 4,
    ),
)
LAST, HIDDEN = 960, 1280


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV4Config(BatchNormConfig):
    """Options of MobileNet V4.

    Attributes:
      rows: the rows of the paper's tables at width 1, one tuple per stage.
      stem: output channels of the first convolution; a width below 1 does not reduce them.
      activation: activation of all layers.
      layer_scale: initial value of the per-channel scale of the result; None disables it.
      width: multiplier of all other numbers of features, which are rounded to multiples of 8.

    Example:
      >>> import jds
      >>> jds.models.MobileNetV4Config(width=0.5, num_classes=10).dropout
      0.2
    """

    rows: Rows = CONV_SMALL
    stem: int = 32
    activation: Activation = jax.nn.relu
    layer_scale: float | None = None
    width: float = 1.0
    dropout: float = 0.2


class MobileNetV4(Network):
    """MobileNet V4, convolutional or hybrid with attention.

    From https://arxiv.org/abs/2404.10518.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.models.MobileNetV4Config(rows=jds.models.mobilenet_v4.CONV_SMALL[:3], width=0.35)
      >>> model = jds.models.MobileNetV4(config, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: MobileNetV4Config, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        def wide(features: int) -> int:
            return round_features(features * config.width)

        shared = {"activation": config.activation, "config": layer_config, "rngs": rngs}

        def make(features: int, row: MobileNetV4Row, place: Placement) -> nnx.Module:
            strides, dilation, drop_path = place
            if isinstance(row, Conv):
                return ConvNorm(
                    features,
                    row.features,
                    row.kernel,
                    strides=strides,
                    kernel_dilation=dilation,
                    activation=config.activation,
                    config=layer_config if row.kernel == 1 else layer_config.for_ordinary,
                    rngs=rngs,
                )
            if isinstance(row, Attention):
                return MultiQueryAttention(
                    features,
                    heads=row.heads,
                    head_features=row.head_features,
                    key_strides=row.key_strides,
                    kernel_dilation=dilation,
                    layer_scale=config.layer_scale,
                    drop_path=drop_path,
                    config=layer_config,
                    rngs=rngs,
                )
            expanded_features = round_features(features * row.expansion)
            if isinstance(row, Fused):
                return FusedResidual(
                    features, row.features, row.kernel, **place._asdict(), expanded_features=expanded_features, **shared
                )
            return UniversalInvertedResidual(
                features,
                row.features,
                start_kernel=row.start,
                middle_kernel=row.middle,
                **place._asdict(),
                expanded_features=expanded_features,
                layer_scale=config.layer_scale,
                **shared,
            )

        rows = [[row._replace(features=wide(row.features)) for row in stage] for stage in config.rows]
        stem, last = config.stem if config.width < 1 else wide(config.stem), wide(LAST)
        first = ConvNorm(
            config.in_features,
            stem,
            3,
            strides=2,
            activation=config.activation,
            config=layer_config.for_ordinary,
            rngs=rngs,
        )
        stages = build_stages(config, stem, rows, make, others=1)
        stages = stages.with_last(ConvNorm(rows[-1][-1].features, last, **shared), last)
        neck = ConvNorm(last, HIDDEN, **shared)
        return Parts(first, stages, neck=neck, out_features=HIDDEN)


VARIANTS: tuple[Variant, ...] = (
    timm("mobilenetv4_conv_small_035", MobileNetV4, MobileNetV4Config(width=0.35), mean=HALF, std=HALF),
    timm("mobilenetv4_conv_small_050", MobileNetV4, MobileNetV4Config(width=0.5), mean=HALF, std=HALF),
    timm("mobilenetv4_conv_small", MobileNetV4, MobileNetV4Config()),
    timm("mobilenetv4_conv_medium", MobileNetV4, MobileNetV4Config(rows=CONV_MEDIUM), image_size=256, crop=0.95),
    timm("mobilenetv4_conv_large", MobileNetV4, MobileNetV4Config(rows=CONV_LARGE, stem=24), image_size=384, crop=0.95),
    timm(
        "mobilenetv4_hybrid_medium_075",
        MobileNetV4,
        MobileNetV4Config(rows=HYBRID_MEDIUM, width=0.75, layer_scale=1e-05),
        crop=0.95,
    ),
    timm(
        "mobilenetv4_hybrid_medium",
        MobileNetV4,
        MobileNetV4Config(rows=HYBRID_MEDIUM, layer_scale=1e-05),
        image_size=256,
        crop=0.95,
    ),
    timm(
        "mobilenetv4_hybrid_large_075",
        MobileNetV4,
        MobileNetV4Config(rows=HYBRID_LARGE, stem=24, width=0.75, activation=gelu, layer_scale=1e-05),
        image_size=256,
        crop=0.95,
    ),
    timm(
        "mobilenetv4_hybrid_large",
        MobileNetV4,
        MobileNetV4Config(rows=HYBRID_LARGE, stem=24, activation=gelu, layer_scale=1e-05),
        image_size=384,
        crop=0.95,
    ),
)
