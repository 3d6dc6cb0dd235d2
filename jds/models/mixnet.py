"""MixNet: Tan and Le, MixConv: Mixed Depthwise Convolutional Kernels, https://arxiv.org/abs/1907.09595."""

import dataclasses
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._config import BatchNormConfig
from jds.models._inverted_stages import InvertedRow, inverted_parts, round_features
from jds.models._network import Network, Parts
from jds.models._variant import Variant, timm, timm_tf
from jds.nn import Activation, LayerConfig

_relu, _swish = jax.nn.relu, jax.nn.silu


class MixNetRow(NamedTuple):
    """A row of figure 6: `repeats` blocks, of which only the first has strides.

    Attributes:
      kernels: filter sizes of the depthwise step.
      expansion, features, repeats, strides: as in MnasNet.
      squeeze: ratio of squeezed features to the block's input channels; 0 omits squeeze and excitation.
      activation: activation of all layers of the blocks.
      expand_parts, project_parts: number of groups that the pointwise steps are split into.
    """

    kernels: tuple[int, ...]
    expansion: int
    features: int
    repeats: int
    strides: int
    squeeze: float = 0.0
    activation: Activation = _swish
    expand_parts: int = 1
    project_parts: int = 1


_R = MixNetRow

# Figure 6, grouped by stage: kernels, expansion, features, repeats, strides, squeeze, activation, parts
S = (
    (_R((3,), 1, 16, 1, 1, 0, _relu),),
    (_R((3,), 6, 24, 1, 2, 0, _relu, 2, 2), _R((3,), 3, 24, 1, 1, 0, _relu, 2, 2)),
    (_R((3, 5, 7), 6, 40, 1, 2, 0.5), _R((3, 5), 6, 40, 3, 1, 0.5, _swish, 2, 2)),
    (_R((3, 5, 7), 6, 80, 1, 2, 0.25, _swish, 1, 2), _R((3, 5), 6, 80, 2, 1, 0.25, _swish, 1, 2)),
    (_R((3, 5, 7), 6, 120, 1, 1, 0.5, _swish, 2, 2), _R((3, 5, 7, 9), 3, 120, 2, 1, 0.5, _swish, 2, 2)),
    (_R((3, 5, 7, 9, 11), 6, 200, 1, 2, 0.5), _R((3, 5, 7, 9), 6, 200, 2, 1, 0.5, _swish, 1, 2)),
)
M = (
    (_R((3,), 1, 24, 1, 1, 0, _relu),),
    (_R((3, 5, 7), 6, 32, 1, 2, 0, _relu, 2, 2), _R((3,), 3, 32, 1, 1, 0, _relu, 2, 2)),
    (_R((3, 5, 7, 9), 6, 40, 1, 2, 0.5), _R((3, 5), 6, 40, 3, 1, 0.5, _swish, 2, 2)),
    (_R((3, 5, 7), 6, 80, 1, 2, 0.25), _R((3, 5, 7, 9), 6, 80, 3, 1, 0.25, _swish, 2, 2)),
    (_R((3,), 6, 120, 1, 1, 0.5), _R((3, 5, 7, 9), 3, 120, 3, 1, 0.5, _swish, 2, 2)),
    (_R((3, 5, 7, 9), 6, 200, 1, 2, 0.5), _R((3, 5, 7, 9), 6, 200, 3, 1, 0.5, _swish, 1, 2)),
)
HEAD = 1536


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixNetConfig(BatchNormConfig):
    """Options of MixNet.

    Attributes:
      rows: the rows of figure 6 at width 1, grouped by stage.
      stem: output channels of the first convolution at width 1.
      width: multiplier of all numbers of features except the head's, which are rounded to multiples of 8.

    Example:
      >>> import jds
      >>> jds.models.MixNetConfig(width=1.3, num_classes=10).dropout
      0.2
    """

    rows: tuple[tuple[MixNetRow, ...], ...] = S
    stem: int = 16
    width: float = 1.0
    dropout: float = 0.2


class MixNet(Network):
    """MixNet, S by default; L is M at width 1.3.

    From https://arxiv.org/abs/1907.09595.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` and `dropout` keys.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.models.MixNetConfig(rows=jds.models.mixnet.S[:3], width=0.5)
      >>> model = jds.models.MixNet(config, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 32, 32, 3))).shape
      (1, 1000)
    """

    @staticmethod
    def _parts(config: MixNetConfig, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        stages = []
        for rows in config.rows:
            blocks = []
            for row in rows:
                block = InvertedRow(
                    round_features(row.features * config.width),
                    row.strides,
                    row.kernels,
                    row.expansion,
                    squeeze_features=(lambda features, _, ratio=row.squeeze: round(features * ratio))
                    if row.squeeze
                    else None,
                    activation=row.activation,
                    squeeze_activation=row.activation,
                    expand_kernels=(1,) * row.expand_parts,
                    project_kernels=(1,) * row.project_parts,
                )
                blocks += [block, *[block._replace(strides=1)] * (row.repeats - 1)]
            stages.append(blocks)
        stem = round_features(config.stem * config.width)
        return inverted_parts(config, stem, stages, HEAD, _relu, layer_config, rngs)


VARIANTS: tuple[Variant, ...] = (
    timm("mixnet_s", MixNet, MixNetConfig()),
    timm("mixnet_m", MixNet, MixNetConfig(rows=M, stem=24, dropout=0.25)),
    timm("mixnet_l", MixNet, MixNetConfig(rows=M, stem=24, width=1.3, dropout=0.3)),
    timm_tf("tf_mixnet_s", MixNet, MixNetConfig()),
    timm_tf("tf_mixnet_m", MixNet, MixNetConfig(rows=M, stem=24, dropout=0.25)),
    timm_tf("tf_mixnet_l", MixNet, MixNetConfig(rows=M, stem=24, width=1.3, dropout=0.3)),
)
