"""The shape that MobileNet V2, V3, MnasNet, EfficientNet and MixNet share: stages of inverted residuals."""

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
    """An inverted residual.

    Attributes:
      features: channels of its output.
      strides: of its depthwise step.
      kernel: sizes of the depthwise step's filters.
      expansion: channels of that step to those of the input; 1 for no step that expands.
      squeeze_features: function of the input's and the depthwise step's channels that gives the features of squeeze and
        excitation; None for none.
      activation: of the first two steps.
      squeeze_activation, gate: of the squeeze and excitation.
      use_skip: False for no skip connection.
      expand_kernels, project_kernels: into how many parts the pointwise steps are cut.
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
    """A stage of `times` blocks, of which the first has the strides."""
    return [block, *[block._replace(strides=1)] * (times - 1)]


def scaled(repeats: int, depth: int | float) -> int:
    """Repeats times depth, rounded up."""
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
    """A network of an ordinary convolution, inverted residuals, and a pointwise convolution before the mean.

    Args:
      config: of the network.
      stem, head: channels of the two convolutions.
      stages: the blocks between.
      activation: of the two convolutions.
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
    """Makes the blocks; as `build_stages`, with `others` to come that count for the rates of `drop_path`."""

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
    """Rounds to a multiple of 8, but at least 8 and never to less than 0.9 of it, as the authors' code does.

    Args:
      features: a number of features.
      divisor: what to round to multiples of.
      limit: minimum of the rounded number, relative to `features`.

    Example:
      >>> from jds.models._inverted_stages import round_features
      >>> round_features(32 * 0.35)
      16
    """
    rounded = max(divisor, int(features + divisor / 2) // divisor * divisor)
    return rounded if rounded >= limit * features else rounded + divisor
