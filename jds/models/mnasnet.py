"""MnasNet: Tan et al., https://arxiv.org/abs/1807.11626."""

import dataclasses
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._config import BatchNormConfig
from jds.models._inverted_stages import InvertedRow, inverted_parts, repeated, round_features
from jds.models._network import Network, Parts
from jds.models._variant import Variant, timm
from jds.nn import LayerConfig


class MnasNetRow(NamedTuple):
    """A row of figure 7: `repeats` blocks, of which only the first has strides."""

    kernel: int
    expansion: int
    features: int
    repeats: int
    strides: int
    use_squeeze: bool = False
    use_skip: bool = True


# MnasNet-A1, figure 7: kernel, expansion, features, repeats, strides, squeeze and excitation
A1 = (
    MnasNetRow(3, 1, 16, 1, 1, use_skip=False),
    MnasNetRow(3, 6, 24, 2, 2),
    MnasNetRow(5, 3, 40, 3, 2, use_squeeze=True),
    MnasNetRow(3, 6, 80, 4, 2),
    MnasNetRow(3, 6, 112, 2, 1, use_squeeze=True),
    MnasNetRow(5, 6, 160, 3, 2, use_squeeze=True),
    MnasNetRow(3, 6, 320, 1, 1),
)
# MnasNet-B1, from the authors' code
B1 = (
    MnasNetRow(3, 1, 16, 1, 1, use_skip=False),
    MnasNetRow(3, 3, 24, 3, 2),
    MnasNetRow(5, 3, 40, 3, 2),
    MnasNetRow(5, 6, 80, 3, 2),
    MnasNetRow(3, 6, 96, 2, 1),
    MnasNetRow(5, 6, 192, 4, 2),
    MnasNetRow(3, 6, 320, 1, 1, use_skip=False),
)
SMALL = (
    MnasNetRow(3, 1, 8, 1, 1),
    MnasNetRow(3, 3, 16, 1, 2),
    MnasNetRow(3, 6, 16, 2, 2),
    MnasNetRow(5, 6, 32, 4, 2, use_squeeze=True),
    MnasNetRow(3, 6, 32, 3, 1, use_squeeze=True),
    MnasNetRow(5, 6, 88, 3, 2, use_squeeze=True),
    MnasNetRow(3, 6, 144, 1, 1),
)
HEAD = 1280


@dataclasses.dataclass(frozen=True, kw_only=True)
class MnasNetConfig(BatchNormConfig):
    """Options of MnasNet.

    Attributes:
      rows: the rows of figure 7 at width 1.
      stem: output channels of the first convolution at width 1.
      width: multiplier of all numbers of features except the head's, which are rounded to multiples of 8.

    Example:
      >>> import jds
      >>> jds.models.MnasNetConfig(width=0.5, num_classes=10).dropout
      0.2
    """

    rows: tuple[MnasNetRow, ...] = A1
    stem: int = 32
    width: float = 1.0
    dropout: float = 0.2


class MnasNet(Network):
    """MnasNet, A1 by default.

    From https://arxiv.org/abs/1807.11626.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.models.MnasNetConfig(rows=jds.models.mnasnet.A1[:3], width=0.35)
      >>> model = jds.models.MnasNet(config, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: MnasNetConfig, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        stages = [
            repeated(
                InvertedRow(
                    round_features(row.features * config.width),
                    row.strides,
                    (row.kernel,),
                    row.expansion,
                    squeeze_features=(lambda features, _: round(features / 4)) if row.use_squeeze else None,
                    use_skip=row.use_skip,
                ),
                row.repeats,
            )
            for row in config.rows
        ]
        stem = round_features(config.stem * config.width)
        return inverted_parts(config, stem, stages, HEAD, jax.nn.relu, layer_config, rngs)


VARIANTS: tuple[Variant, ...] = (
    timm("mnasnet_050", MnasNet, MnasNetConfig(rows=B1, width=0.5)),
    timm("mnasnet_075", MnasNet, MnasNetConfig(rows=B1, width=0.75)),
    timm("mnasnet_100", MnasNet, MnasNetConfig(rows=B1)),
    timm("mnasnet_140", MnasNet, MnasNetConfig(rows=B1, width=1.4)),
    timm("mnasnet_small", MnasNet, MnasNetConfig(rows=SMALL, stem=8)),
    timm("semnasnet_050", MnasNet, MnasNetConfig(width=0.5)),
    timm("semnasnet_075", MnasNet, MnasNetConfig(width=0.75)),
    timm("semnasnet_100", MnasNet, MnasNetConfig()),
    timm("semnasnet_140", MnasNet, MnasNetConfig(width=1.4)),
)
