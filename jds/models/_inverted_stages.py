"""The structure shared by MobileNet V2, V3, MnasNet, EfficientNet and MixNet: stages of inverted residuals."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from flax import nnx

from jds.models._config import NetworkConfig
from jds.models._network import Parts
from jds.models._stages import Placement, Stages, build_stages
from jds.nn import Activation, ConvNorm, InvertedResidual, LayerConfig


class InvertedRow(NamedTuple):
    """A row of a table: one inverted residual block.

    Attributes:
      features: number of output channels.
      strides: strides of the depthwise step.
      kernel: filter sizes of the depthwise step.
      expansion: ratio of the depthwise step's channels to the input's; 1 omits the expansion step.
      squeeze_features: function that returns the squeezed features of the squeeze and excitation, given the channels of
        the input and of the depthwise step; None omits it.
      activation: activation after the expansion and the depthwise step.
      squeeze_activation, gate: activation and gate of the squeeze and excitation.
      use_skip: whether to add a skip connection where possible.
      expand_kernels, project_kernels: kernel sizes of the pointwise steps, as in `InvertedResidual`.
    """

    features: int
    strides: int
    kernel: Sequence[int] = (3,)
    expansion: float = 1
    squeeze_features: Callable[[int, int], int] | None = None
    activation: Activation = jax.nn.relu
    squeeze_activation: Activation = jax.nn.relu
    gate: Activation = jax.nn.sigmoid
    use_skip: bool = True
    expand_kernels: Sequence[int] = (1,)
    project_kernels: Sequence[int] = (1,)


def repeated(block: InvertedRow, times: int) -> list[InvertedRow]:
    """Returns a stage of `times` blocks; only the first has strides."""
    return [block, *[block._replace(strides=1)] * (times - 1)]


def scaled(repeats: int, depth: int | float) -> int:
    """Returns repeats times depth, rounded up."""
    return math.ceil(repeats * depth)


def inverted_parts(
    config: NetworkConfig,
    stem: int,
    stages: Sequence[Sequence[InvertedRow]],
    head: int,
    activation: Activation,
    layer_config: LayerConfig,
    rngs: nnx.Rngs,
) -> Parts:
    """Makes the parts of a network: an ordinary convolution, inverted residuals, and a final pointwise convolution.

    Args:
      config: the network's config.
      stem, head: output channels of the first and the last convolution.
      stages: the blocks between them.
      activation: activation after these two convolutions.
      layer_config: options of the layers.
      rngs: provides the `params` and `dropout` keys.
    """
    shared = {"activation": activation, "config": layer_config, "rngs": rngs}
    first = ConvNorm(
        config.in_features,
        stem,
        3,
        strides=2,
        activation=activation,
        config=layer_config.for_ordinary,
        rngs=rngs,
    )
    blocks = inverted_stages(config, stem, stages, layer_config, rngs)
    last = ConvNorm(stages[-1][-1].features, head, **shared)
    return Parts(first, blocks, head=last, out_features=head)


def inverted_stages(
    config: NetworkConfig,
    features: int,
    stages: Sequence[Sequence[InvertedRow]],
    layer_config: LayerConfig,
    rngs: nnx.Rngs,
    *,
    others: int = 0,
) -> Stages:
    """Makes the blocks; `others` is as in `build_stages`."""

    def make(features: int, block: InvertedRow, place: Placement) -> InvertedResidual:
        expanded_features = None if block.expansion == 1 else round_features(features * block.expansion)
        return InvertedResidual(
            features,
            block.features,
            kernel_sizes=block.kernel,
            **place._asdict(),
            expanded_features=expanded_features,
            expand_kernels=block.expand_kernels,
            project_kernels=block.project_kernels,
            squeeze_features=block.squeeze_features(features, expanded_features or features)
            if block.squeeze_features
            else 0,
            activation=block.activation,
            squeeze_activation=block.squeeze_activation,
            gate=block.gate,
            use_skip=block.use_skip,
            config=layer_config,
            rngs=rngs,
        )

    return build_stages(config, features, stages, make, others=others)


def round_features(features: int | float, divisor: int = 8, limit: int | float = 0.9) -> int:
    """Rounds to a multiple of 8, at least 8 and at least 0.9 times `features`, as the authors' code does.

    Args:
      features: number of features.
      divisor: result is a multiple of this.
      limit: minimum of the result, relative to `features`.

    Example:
      >>> from jds.models._inverted_stages import round_features
      >>> round_features(32 * 0.35)
      16
    """
    rounded = max(divisor, int(features + divisor / 2) // divisor * divisor)
    return rounded if rounded >= limit * features else rounded + divisor
