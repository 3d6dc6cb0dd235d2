"""EfficientNet: Tan and Le, https://arxiv.org/abs/1905.11946; and EfficientNet-Lite."""

import dataclasses
import functools
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._config import BatchNormConfig
from jds.models._inverted_stages import InvertedRow, inverted_parts, repeated, round_features, scaled
from jds.models._network import Network, Parts
from jds.models._variant import HALF, Variant, keras, timm, timm_tf, torchvision, torchvision_tf
from jds.nn import Activation, LayerConfig


class EfficientNetRow(NamedTuple):
    """A row of table 1: `repeats` blocks, of which only the first has strides."""

    kernel: int
    expansion: int
    features: int
    repeats: int
    strides: int


# Table 1: kernel, expansion, features, repeats, strides
ROWS = (
    EfficientNetRow(3, 1, 16, 1, 1),
    EfficientNetRow(3, 6, 24, 2, 2),
    EfficientNetRow(5, 6, 40, 2, 2),
    EfficientNetRow(3, 6, 80, 3, 2),
    EfficientNetRow(5, 6, 112, 3, 1),
    EfficientNetRow(5, 6, 192, 4, 2),
    EfficientNetRow(3, 6, 320, 1, 1),
)
STEM, HEAD = 32, 1280


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientNetConfig(BatchNormConfig):
    """Options of EfficientNet.

    Attributes:
      rows: the rows of table 1, for B0.
      width: multiplier of all numbers of features, which are rounded to multiples of 8.
      depth: multiplier of the repeats of each row, which are rounded up.
      use_squeeze: whether blocks have squeeze and excitation, which squeezes to a quarter of the block's input
        features.
      activation: activation of all layers.
      fixed_ends: whether stem, head, and the first and last row's repeats ignore width and depth, as in
        EfficientNet-Lite.

    Example:
      >>> import jds
      >>> jds.models.EfficientNetConfig(width=1.1, depth=1.2).dropout
      0.2
    """

    rows: tuple[EfficientNetRow, ...] = ROWS
    width: float = 1.0
    depth: float = 1.0
    use_squeeze: bool = True
    activation: Activation = jax.nn.silu
    fixed_ends: bool = False
    dropout: float = 0.2
    drop_path: float = 0.2


class EfficientNet(Network):
    """EfficientNet, B0 by default.

    From https://arxiv.org/abs/1905.11946; EfficientNet-Lite, for phones, from
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.models.EfficientNetConfig(rows=jds.models.efficientnet.ROWS[:3], width=0.5, depth=0.5)
      >>> model = jds.models.EfficientNet(config, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: EfficientNetConfig, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        def wide(features: int, fixed: bool = False) -> int:
            return features if fixed else round_features(features * config.width)

        stages = []
        for place, row in enumerate(config.rows):
            scales = 0 < place < len(config.rows) - 1 or not config.fixed_ends
            block = InvertedRow(
                wide(row.features),
                row.strides,
                (row.kernel,),
                row.expansion,
                squeeze_features=(lambda features, _: round(features / 4)) if config.use_squeeze else None,
                activation=config.activation,
                squeeze_activation=config.activation,
            )
            stages.append(repeated(block, scaled(row.repeats, config.depth if scales else 1)))
        stem, head = wide(STEM, config.fixed_ends), wide(HEAD, config.fixed_ends)
        return inverted_parts(config, stem, stages, head, config.activation, layer_config, rngs)


# From the authors' code: width, depth, dropout
B0 = EfficientNetConfig(width=1.0, depth=1.0, dropout=0.2)
B1 = EfficientNetConfig(width=1.0, depth=1.1, dropout=0.2)
B2 = EfficientNetConfig(width=1.1, depth=1.2, dropout=0.3)
B3 = EfficientNetConfig(width=1.2, depth=1.4, dropout=0.3)
B4 = EfficientNetConfig(width=1.4, depth=1.8, dropout=0.4)
B5 = EfficientNetConfig(width=1.6, depth=2.2, dropout=0.4)
B6 = EfficientNetConfig(width=1.8, depth=2.6, dropout=0.5)
B7 = EfficientNetConfig(width=2.0, depth=3.1, dropout=0.5)
# For phones: no squeeze and excitation; stem and head have B0's size
_lite = functools.partial(EfficientNetConfig, use_squeeze=False, activation=jax.nn.relu6, fixed_ends=True)
LITE0 = _lite(width=1.0, depth=1.0, dropout=0.2)
LITE1 = _lite(width=1.0, depth=1.1, dropout=0.2)
LITE2 = _lite(width=1.1, depth=1.2, dropout=0.3)
LITE3 = _lite(width=1.2, depth=1.4, dropout=0.3)
LITE4 = _lite(width=1.4, depth=1.8, dropout=0.3)

VARIANTS: tuple[Variant, ...] = (
    timm("efficientnet_b0", EfficientNet, B0),
    timm("efficientnet_b1", EfficientNet, B1, image_size=240, crop=0.9, mean=HALF, std=HALF),
    timm("efficientnet_b2", EfficientNet, B2, image_size=256),
    timm("efficientnet_b3", EfficientNet, B3, image_size=288),
    timm("efficientnet_b4", EfficientNet, B4, image_size=320),
    timm("efficientnet_b5", EfficientNet, B5, image_size=448, crop=1.0, crop_mode="squash"),
    timm("efficientnet_b6", EfficientNet, B6, image_size=528, crop=0.942),
    timm("efficientnet_b7", EfficientNet, B7, image_size=600, crop=0.949),
    timm("efficientnet_lite0", EfficientNet, LITE0),
    timm("efficientnet_lite1", EfficientNet, LITE1, image_size=240, crop=0.882),
    timm("efficientnet_lite2", EfficientNet, LITE2, image_size=260, crop=0.89),
    timm("efficientnet_lite3", EfficientNet, LITE3, image_size=300, crop=0.904),
    timm("efficientnet_lite4", EfficientNet, LITE4, image_size=380, crop=0.922),
    timm_tf("tf_efficientnet_b0", EfficientNet, B0),
    timm_tf("tf_efficientnet_b1", EfficientNet, B1, image_size=240, crop=0.882),
    timm_tf("tf_efficientnet_b2", EfficientNet, B2, image_size=260, crop=0.89),
    timm_tf("tf_efficientnet_b3", EfficientNet, B3, image_size=300, crop=0.904),
    timm_tf("tf_efficientnet_b4", EfficientNet, B4, image_size=380, crop=0.922),
    timm_tf("tf_efficientnet_b5", EfficientNet, B5, image_size=456, crop=0.934),
    timm_tf("tf_efficientnet_b6", EfficientNet, B6, image_size=528, crop=0.942),
    timm_tf("tf_efficientnet_b7", EfficientNet, B7, image_size=600, crop=0.949),
    timm_tf("tf_efficientnet_lite0", EfficientNet, LITE0, mean=HALF, std=HALF),
    timm_tf("tf_efficientnet_lite1", EfficientNet, LITE1, image_size=240, crop=0.882, mean=HALF, std=HALF),
    timm_tf("tf_efficientnet_lite2", EfficientNet, LITE2, image_size=260, crop=0.89, mean=HALF, std=HALF),
    timm_tf(
        "tf_efficientnet_lite3",
        EfficientNet,
        LITE3,
        image_size=300,
        crop=0.904,
        interpolation="bilinear",
        mean=HALF,
        std=HALF,
    ),
    timm_tf(
        "tf_efficientnet_lite4",
        EfficientNet,
        LITE4,
        image_size=380,
        crop=0.92,
        interpolation="bilinear",
        mean=HALF,
        std=HALF,
    ),
    torchvision("torchvision/efficientnet_b0", EfficientNet, B0, interpolation="bicubic"),
    torchvision("torchvision/efficientnet_b1", EfficientNet, B1, image_size=240, resize=255),
    torchvision("torchvision/efficientnet_b2", EfficientNet, B2, image_size=288, resize=288, interpolation="bicubic"),
    torchvision("torchvision/efficientnet_b3", EfficientNet, B3, image_size=300, resize=320, interpolation="bicubic"),
    torchvision("torchvision/efficientnet_b4", EfficientNet, B4, image_size=380, resize=384, interpolation="bicubic"),
    torchvision_tf(
        "torchvision/efficientnet_b5", EfficientNet, B5, image_size=456, resize=456, interpolation="bicubic"
    ),
    torchvision_tf(
        "torchvision/efficientnet_b6", EfficientNet, B6, image_size=528, resize=528, interpolation="bicubic"
    ),
    torchvision_tf(
        "torchvision/efficientnet_b7", EfficientNet, B7, image_size=600, resize=600, interpolation="bicubic"
    ),
    keras("keras/EfficientNetB0", EfficientNet, B0),
    keras("keras/EfficientNetB1", EfficientNet, B1, image_size=240),
    keras("keras/EfficientNetB2", EfficientNet, B2, image_size=260),
    keras("keras/EfficientNetB3", EfficientNet, B3, image_size=300),
    keras("keras/EfficientNetB4", EfficientNet, B4, image_size=380),
    keras("keras/EfficientNetB5", EfficientNet, B5, image_size=456),
    keras("keras/EfficientNetB6", EfficientNet, B6, image_size=528),
    keras("keras/EfficientNetB7", EfficientNet, B7, image_size=600),
)
