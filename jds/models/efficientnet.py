"""EfficientNet: Tan and Le, https://arxiv.org/abs/1905.11946; and its Lite form."""

import dataclasses
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._inverted_stages import Block, inverted_parts, repeated, scaled
from jds.models._network import Network, NetworkConfig, Parts
from jds.models._rounding import round_features
from jds.nn import Style
from jds.ops._fused_block import Activation


class Row(NamedTuple):
    """Blocks of table 1: `repeats` of them, of which the first has the strides."""

    kernel: int
    expansion: int
    features: int
    repeats: int
    strides: int


# Table 1: kernel, expansion, features, repeats, strides
ROWS = (
    Row(3, 1, 16, 1, 1),
    Row(3, 6, 24, 2, 2),
    Row(5, 6, 40, 2, 2),
    Row(3, 6, 80, 3, 2),
    Row(5, 6, 112, 3, 1),
    Row(5, 6, 192, 4, 2),
    Row(3, 6, 320, 1, 1),
)
STEM, HEAD = 32, 1280


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientNetConfig(NetworkConfig):
    """Of EfficientNet.

    Attributes:
      rows: of table 1, of B0.
      width: each number of features is multiplied by it and rounded to a multiple of 8.
      depth: the repeats of each row are multiplied by it and rounded up.
      has_squeeze: whether blocks have squeeze and excitation, with a quarter of the block's input as features.
      activation: throughout.
      fixed_ends: whether width and depth leave stem, head, and first and last row's repeats as they are, as in Lite.

    Example:
      >>> import jds
      >>> jds.models.EfficientNetConfig(width=1.1, depth=1.2).dropout
      0.2
    """

    rows: tuple[Row, ...] = ROWS
    width: float = 1.0
    depth: float = 1.0
    has_squeeze: bool = True
    activation: Activation = jax.nn.silu
    fixed_ends: bool = False
    dropout: float = 0.2
    drop_path: float = 0.2


class EfficientNet(Network):
    """EfficientNet, B0 by default.

    From https://arxiv.org/abs/1905.11946; Lite, for phones, from
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.

    Args:
      config: its rows and all else.
      rngs: gives the keys `params` and `dropout`.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> model = jds.models.EfficientNet(jds.models.EfficientNetConfig(width=0.5, depth=0.5), rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: EfficientNetConfig, style: Style, rngs: nnx.Rngs) -> Parts:
        def wide(features: int, fixed: bool = False) -> int:
            return features if fixed else round_features(features * config.width)

        stages = []
        for place, row in enumerate(config.rows):
            scales = 0 < place < len(config.rows) - 1 or not config.fixed_ends
            block = Block(
                wide(row.features),
                row.strides,
                (row.kernel,),
                row.expansion,
                squeezed=(lambda features, _: round(features / 4)) if config.has_squeeze else None,
                activation=config.activation,
                squeeze_activation=config.activation,
            )
            stages.append(repeated(block, scaled(row.repeats, config.depth if scales else 1)))
        stem, head = wide(STEM, config.fixed_ends), wide(HEAD, config.fixed_ends)
        return inverted_parts(config, stem, stages, head, config.activation, style, rngs)
