"""MobileOne: Vasu et al., https://arxiv.org/abs/2206.04040."""

import dataclasses
from typing import NamedTuple

from flax import nnx

from jds.models._config import BatchNormConfig
from jds.models._inverted_stages import round_features
from jds.models._network import Network, Parts
from jds.models._stages import Placement, build_stages
from jds.models._variant import Variant, timm
from jds.nn import LayerConfig, MobileOneBlock


class MobileOneRow(NamedTuple):
    """A row of table 2: a stage of blocks, each with a depthwise and a pointwise half.

    Attributes:
      features: number of channels at width 1.
      repeats: number of blocks, of which the first has stride 2.
      width: multiplier of the number of channels.
      squeezes: number of blocks, counted from the end, with squeeze and excitation after each half.
    """

    features: int
    repeats: int
    width: float
    squeezes: int = 0


class MobileOneHalf(NamedTuple):
    """Half of a block: a depthwise or a pointwise `MobileOneBlock`."""

    features: int
    strides: int
    depthwise: bool
    use_squeeze: bool


def rows(*widths: float, squeezes: tuple[int, ...] = (0, 0, 0, 0)) -> tuple[MobileOneRow, ...]:
    """Returns the stages of table 2 at these widths."""
    table = zip((64, 128, 256, 512), (2, 8, 10, 1), widths, squeezes, strict=True)
    return tuple(MobileOneRow(*row) for row in table)


# Table 3
S0 = rows(0.75, 1.0, 1.0, 2.0)
S1 = rows(1.5, 1.5, 2.0, 2.5)
S2 = rows(1.5, 2.0, 2.5, 4.0)
S3 = rows(2.0, 2.5, 3.0, 4.0)
S4 = rows(3.0, 3.5, 3.5, 4.0, squeezes=(0, 0, 5, 1))
# Squeeze and excitation reduces the channels by this factor.
_SQUEEZE = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileOneConfig(BatchNormConfig):
    """Options of MobileOne.

    Attributes:
      rows: the rows of table 2 with the widths of table 3.
      branches: number of same-sized convolutions per half, for training.

    Example:
      >>> import jds
      >>> jds.models.MobileOneConfig(rows=jds.models.mobileone.S0, branches=4).branches
      4
    """

    rows: tuple[MobileOneRow, ...] = S1
    branches: int = 1


class MobileOne(Network):
    """MobileOne, S1 by default, with its training branches, which `jds.reparameterize` merges.

    From https://arxiv.org/abs/2206.04040. With an output stride of 16 or 8, filters are dilated as in all other
    networks, unlike in timm.

    Because the branches of a block are summed, evaluating an untrained network, whose running statistics do not reflect
    this yet, gives huge logits of 1e11 and more, as in timm.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.models.MobileOneConfig(rows=(jds.models.mobileone.MobileOneRow(8, 2, 1.0),))
      >>> model = jds.models.MobileOne(config, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: MobileOneConfig, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        features = stem = min(64, int(config.rows[0].features * config.rows[0].width))
        stages = []
        for row in config.rows:
            halves, wide = [], int(row.features * row.width)
            for number in range(row.repeats):
                use_squeeze = number >= row.repeats - row.squeezes
                halves.append(MobileOneHalf(features, 1 if number else 2, True, use_squeeze))
                halves.append(MobileOneHalf(wide, 1, False, use_squeeze))
                features = wide
            stages.append(halves)

        def make(features: int, half: MobileOneHalf, place: Placement) -> MobileOneBlock:
            strides, dilation, drop_path = place
            return MobileOneBlock(
                features,
                half.features,
                3 if half.depthwise else 1,
                strides=strides,
                kernel_dilation=dilation if half.depthwise else 1,
                depthwise=half.depthwise,
                branches=config.branches,
                # A stride reduced to 1 by the output stride does not add an identity branch: no weights have one.
                use_identity=half.strides == 1,
                squeeze_features=round_features(half.features / _SQUEEZE, limit=0) if half.use_squeeze else 0,
                drop_path=drop_path,
                config=layer_config,
                rngs=rngs,
            )

        # The stem has one branch in addition to the 1×1 branch.
        first = MobileOneBlock(config.in_features, stem, 3, strides=2, config=layer_config.for_ordinary, rngs=rngs)
        # Unlike in the other networks, the last block has the full drop rate.
        blocks = build_stages(config, stem, stages, make, others=-1)
        return Parts(first, blocks, out_features=features)


VARIANTS: tuple[Variant, ...] = (
    timm("mobileone_s0", MobileOne, MobileOneConfig(rows=S0, branches=4), interpolation="bilinear"),
    timm("mobileone_s1", MobileOne, MobileOneConfig(), crop=0.9, interpolation="bilinear"),
    timm("mobileone_s2", MobileOne, MobileOneConfig(rows=S2), crop=0.9, interpolation="bilinear"),
    timm("mobileone_s3", MobileOne, MobileOneConfig(rows=S3), crop=0.9, interpolation="bilinear"),
    timm("mobileone_s4", MobileOne, MobileOneConfig(rows=S4), crop=0.9, interpolation="bilinear"),
)
