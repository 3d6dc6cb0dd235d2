"""The shape that MobileNet V2, V3, MnasNet, EfficientNet and MixNet share: stages of inverted residuals."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from flax import nnx

from jds.models._network import Feature, NetworkConfig, Parts, Placement, build_stages
from jds.models._rounding import round_features
from jds.nn import ConvNorm, InvertedResidual, Style
from jds.ops._fused_block import Activation


class Block(NamedTuple):
    """An inverted residual.

    Attributes:
      features: channels of its output.
      strides: of its depthwise step.
      kernel: sizes of the depthwise step's filters.
      expansion: channels of that step to those of the input; 1 for no step that expands.
      squeezed: features of the squeeze and excitation, from the channels of input and depthwise step; None for none.
      activation: of the first two steps.
      squeeze_activation, gate: of the squeeze and excitation.
      has_skip: False for no way around.
      expand_kernels, project_kernels: into how many parts the pointwise steps are cut.
    """

    features: int
    strides: int
    kernel: Sequence[int] = (3,)
    expansion: float = 1
    squeezed: Callable[[int, int], int] | None = None
    activation: Activation = jax.nn.relu
    squeeze_activation: Activation = jax.nn.relu
    gate: Activation = jax.nn.sigmoid
    has_skip: bool = True
    expand_kernels: Sequence[int] = (1,)
    project_kernels: Sequence[int] = (1,)


def repeated(block: Block, times: int) -> list[Block]:
    """A stage of `times` blocks, of which the first has the strides."""
    return [block, *[block._replace(strides=1)] * (times - 1)]


def scaled(repeats: int, depth: int | float) -> int:
    """Repeats times depth, rounded up."""
    return math.ceil(repeats * depth)


def inverted_parts(
    config: NetworkConfig,
    stem: int,
    stages: Sequence[Sequence[Block]],
    head: int,
    activation: Activation,
    style: Style,
    rngs: nnx.Rngs,
) -> Parts:
    """A network of an ordinary convolution, inverted residuals, and a pointwise convolution before the mean.

    Args:
      config: of the network.
      stem, head: channels of the two convolutions.
      stages: the blocks between.
      activation: of the two convolutions.
      style, rngs: as everywhere.
    """
    shared = {"activation": activation, "style": style, "rngs": rngs}
    first = ConvNorm(config.in_features, stem, 3, strides=2, **shared)
    blocks, info, ends = inverted_stages(config, stem, stages, style, rngs)
    last = ConvNorm(stages[-1][-1].features, head, **shared)
    return Parts(first, blocks, info, ends, head=last, out_features=head)


def inverted_stages(
    config: NetworkConfig,
    features: int,
    stages: Sequence[Sequence[Block]],
    style: Style,
    rngs: nnx.Rngs,
    *,
    others: int = 0,
) -> tuple[Any, tuple[Feature, ...], tuple[int, ...]]:
    """Makes the blocks; as `build_stages`, with `others` to come that count for the rates of `drop_path`."""

    def make(features: int, block: Block, place: Placement) -> InvertedResidual:
        expanded = None if block.expansion == 1 else round_features(features * block.expansion)
        return InvertedResidual(
            features,
            block.features,
            kernel_sizes=block.kernel,
            **place._asdict(),
            expanded=expanded,
            expand_kernels=block.expand_kernels,
            project_kernels=block.project_kernels,
            squeezed=block.squeezed(features, expanded or features) if block.squeezed else 0,
            activation=block.activation,
            squeeze_activation=block.squeeze_activation,
            gate=block.gate,
            has_skip=block.has_skip,
            style=style,
            rngs=rngs,
        )

    return build_stages(config, features, stages, make, others=others)
