"""A convolution layer as data, and the multiplications in its two forms."""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from jax import lax

StepName = Literal["ordinary", "grouped", "depthwise", "pointwise"]


class LayerStep(NamedTuple):
    """One convolution, as filter parameters × filter positions × filters.

    Attributes:
      name: name of the convolution.
      parameters: number of weights per filter.
      positions: number of positions that each filter is applied at, over the whole batch, including positions that
        overlap the padding.
      filters: number of filters.

    Example:
      >>> from jds import cost
      >>> cost.Layer("textbook", (6, 6, 3), 5, (3, 3), padding="VALID").separable_steps()[0]
      LayerStep(name='depthwise', parameters=9, positions=16, filters=3)
    """

    name: StepName
    parameters: int
    positions: int
    filters: int

    @property
    def multiplications(self) -> int:
        """Number of multiplications, called mult-adds in papers."""
        return self.parameters * self.positions * self.filters

    @property
    def weights(self) -> int:
        """Number of weights of all filters."""
        return self.parameters * self.filters


@dataclasses.dataclass(frozen=True)
class Layer:
    """The sizes of a convolution layer that can be computed in ordinary or depthwise separable form.

    A linear layer is a convolution at one position: its input size is `(1, in_features)`, its kernel size `(1,)`.

    Args:
      name: name to show in tables.
      input_size: `(*spatial, in_features)` of one example, with 1, 2 or 3 spatial axes.
      out_features: number of output channels.
      kernel_size: one entry per spatial axis.
      strides, kernel_dilation: as in `jds.conv`.
      padding: `"SAME"`, `"SAME_LOWER"`, `"VALID"`, or one pair (before, after) of positions to add per axis.
      channel_multiplier: number of depthwise filters per channel.
      separable: False for a layer that is the same in both forms, such as a network's first convolution.
      feature_group_count: number of groups of a layer that is not separable, as in `jds.conv`.

    Raises:
      ValueError: a size is not positive, the numbers of axes differ, or the output would be empty.

    Example:
      >>> from jds import cost
      >>> layer = cost.Layer("example", (6, 6, 3), 5, (3, 3), padding="VALID")
      >>> layer.output_size
      (4, 4, 5)
      >>> [step.multiplications for step in layer.separable_steps()]
      [432, 240]
    """

    name: str
    input_size: tuple[int, ...]
    out_features: int
    kernel_size: tuple[int, ...]
    strides: int | tuple[int, ...] = 1
    padding: str | tuple[tuple[int, int], ...] = "SAME"
    kernel_dilation: int | tuple[int, ...] = 1
    channel_multiplier: int = 1
    separable: bool = True
    feature_group_count: int = 1

    def __post_init__(self):
        if fault := layer_fault(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)}):
            raise ValueError(f"Layer: {fault}")

    @property
    def in_features(self) -> int:
        """Number of input channels."""
        return self.input_size[-1]

    @property
    def output_size(self) -> tuple[int, ...]:
        """`(*spatial, out_features)` of one example."""
        sizes = _output_sizes(self.input_size, self.kernel_size, self.strides, self.padding, self.kernel_dilation)
        return (*sizes, self.out_features)

    def ordinary_steps(self, batch: int = 1) -> tuple[LayerStep, ...]:
        """Returns the single convolution of the ordinary form."""
        groups, positions = self.feature_group_count, batch * math.prod(self.output_size[:-1])
        name: StepName = "ordinary" if groups == 1 else "depthwise" if groups == self.in_features else "grouped"
        parameters = math.prod(self.kernel_size) * (self.in_features // groups)
        return (LayerStep(name, parameters, positions, self.out_features),)

    def separable_steps(self, batch: int = 1) -> tuple[LayerStep, ...]:
        """Returns the depthwise and the pointwise convolution, or the ordinary one if the layer is not separable."""
        if not self.separable:
            return self.ordinary_steps(batch)
        between, positions = self.in_features * self.channel_multiplier, batch * math.prod(self.output_size[:-1])
        return (
            LayerStep("depthwise", math.prod(self.kernel_size), positions, between),
            LayerStep("pointwise", between, positions, self.out_features),
        )

    @property
    def ratio(self) -> Fraction:
        """Ratio of separable to ordinary: `channel_multiplier * (1/out_features + 1/prod(kernel_size))`."""
        return multiplications(self).ratio


def layer_fault(
    *,
    input_size: tuple[int, ...],
    out_features: int,
    kernel_size: tuple[int, ...],
    strides: int | tuple[int, ...] = 1,
    padding: str | tuple[tuple[int, int], ...] = "SAME",
    kernel_dilation: int | tuple[int, ...] = 1,
    channel_multiplier: int = 1,
    separable: bool = True,
    feature_group_count: int = 1,
    name: str = "",
) -> str | None:
    """Returns an error message for invalid fields of a `Layer`, or None if they are valid."""
    rank = len(kernel_size)
    if rank not in (1, 2, 3) or len(input_size) != rank + 1:
        return (
            "`kernel_size` must have 1, 2 or 3 entries, and `input_size` one more, for the features, got "
            f"kernel_size={kernel_size} and input_size={input_size}"
        )
    if min(*input_size, *kernel_size, out_features, channel_multiplier) < 1:
        return (
            "`input_size`, `kernel_size`, `out_features` and `channel_multiplier` must be positive, got "
            f"{input_size}, {kernel_size}, {out_features} and {channel_multiplier}"
        )
    for option, value in (("strides", strides), ("kernel_dilation", kernel_dilation)):
        sizes = _for_each_axis(value, rank)
        if len(sizes) != rank or min(sizes) < 1:
            return f"`{option}` must be a positive int, or one for each of the {rank} spatial axes, got {value}"
    groups = feature_group_count
    if groups < 1 or input_size[-1] % groups or out_features % groups or (separable and groups > 1):
        return (
            "`feature_group_count` must divide the input's features and `out_features`, and be 1 in a separable layer, "
            f"got {groups} with {input_size[-1]} and {out_features} features and separable={separable}"
        )
    output = _output_sizes(input_size, kernel_size, strides, padding, kernel_dilation)
    if 0 in output:
        return (
            f"the output would be empty, {(*output, out_features)}: input_size={input_size} with padding {padding!r} "
            f"is smaller than a kernel of size {kernel_size}, dilated by {kernel_dilation}; use a larger input, more "
            "padding or a smaller kernel"
        )
    return None


class Multiplications(NamedTuple):
    """Multiplications of the two forms.

    Example:
      >>> from jds import cost
      >>> counts = cost.multiplications(cost.Layer("textbook", (6, 6, 3), 5, (3, 3), padding="VALID"))
      >>> counts.ordinary, counts.separable
      (2160, 672)
    """

    ordinary: int
    separable: int

    @property
    def ratio(self) -> Fraction:
        """Ratio of separable to ordinary multiplications."""
        return Fraction(self.separable, self.ordinary)


def multiplications(layers: Layer | Sequence[Layer], *, batch: int = 1) -> Multiplications:
    """Counts the multiplications of convolution layers in ordinary and depthwise separable form.

    These are the mult-adds of MobileNets, https://arxiv.org/abs/1704.04861: every filter position counts, including
    padding; biases, normalization and activations do not.

    Args:
      layers: one layer, or the layers of a network.
      batch: number of examples.

    Returns:
      The exact numbers, summed over all layers.

    Raises:
      TypeError: `layers` are no layers.

    Example:
      >>> from jds import cost
      >>> cost.multiplications(cost.Layer("example", (6, 6, 3), 5, (3, 3), padding="VALID"))
      Multiplications(ordinary=2160, separable=672)
    """
    layers = (layers,) if isinstance(layers, Layer) else layers
    if not isinstance(layers, Sequence) or not all(isinstance(layer, Layer) for layer in layers):
        raise TypeError(f"multiplications: `layers` must be a `jds.cost.Layer` or a list of them, got {layers!r}")
    return Multiplications(
        sum(step.multiplications for layer in layers for step in layer.ordinary_steps(batch)),
        sum(step.multiplications for layer in layers for step in layer.separable_steps(batch)),
    )


def _output_sizes(
    input_size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    strides: int | tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    kernel_dilation: int | tuple[int, ...],
) -> tuple[int, ...]:
    """Returns the spatial sizes of a convolution's output."""
    rank, sizes = len(kernel_size), input_size[:-1]
    strides, dilation = _for_each_axis(strides, rank), _for_each_axis(kernel_dilation, rank)
    taps = [(size - 1) * step + 1 for size, step in zip(kernel_size, dilation, strict=True)]
    pads = lax.padtype_to_pads(sizes, taps, strides, padding) if isinstance(padding, str) else padding
    return tuple(
        max(0, (size + low + high - tap) // stride + 1)
        for size, (low, high), tap, stride in zip(sizes, pads, taps, strides, strict=True)
    )


def _for_each_axis(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else value
