"""A convolution layer as data, and the multiplications of its two forms."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jds.cost._analyze import analyze


class Step(NamedTuple):
    """One convolution, as filter parameters × filter positions × filters; `jds.cost.analyze` counts it.

    Attributes:
      name: which convolution it is.
      parameters: weights of one filter.
      positions: at which each filter is applied, those that reach into the padding included, in the whole batch.
      filters: how many there are.

    Example:
      >>> from jds import cost
      >>> cost.Layer("textbook", (6, 6, 3), 5, (3, 3), padding="VALID").separable_steps()[0]
      Step(name='depthwise', parameters=9, positions=16, filters=3)
    """

    name: Literal["ordinary", "depthwise", "pointwise"]
    parameters: int
    positions: int
    filters: int

    @property
    def multiplications(self) -> int:
        """Multiplications of the step: its mult-adds, in the papers' word."""
        return self.parameters * self.positions * self.filters

    @property
    def weights(self) -> int:
        """Weights of all filters."""
        return self.parameters * self.filters


@dataclasses.dataclass(frozen=True)
class Layer:
    """The sizes of a convolution layer, which can be computed in ordinary or in depthwise separable form.

    A linear layer is a convolution with one position: an input of size `(1, in_features)` and a kernel of size `(1,)`.

    Args:
      name: what tables call it.
      input_size: `(*spatial, in_features)` of one example, with 1, 2 or 3 spatial axes.
      out_features: channels of the output.
      kernel_size: one entry for each spatial axis.
      strides, kernel_dilation: as in `jds.conv`.
      padding: `"SAME"`, `"SAME_LOWER"`, `"VALID"`, or for each axis a pair (before, after) of positions to add.
      channel_multiplier: depthwise filters a channel.
      separable: False for a layer that is the same in both forms, as a network's first convolution is.

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

    def __post_init__(self):
        rank = len(self.kernel_size)
        if rank not in (1, 2, 3) or len(self.input_size) != rank + 1:
            raise ValueError(
                "Layer: `kernel_size` must have 1, 2 or 3 entries, and `input_size` one more for the features, got "
                f"kernel_size={self.kernel_size} and input_size={self.input_size}"
            )
        if min(*self.input_size, *self.kernel_size, self.out_features, self.channel_multiplier) < 1:
            raise ValueError(
                "Layer: `input_size`, `kernel_size`, `out_features` and `channel_multiplier` must be positive, got "
                f"{self.input_size}, {self.kernel_size}, {self.out_features} and {self.channel_multiplier}"
            )
        for name in ("strides", "kernel_dilation"):
            value = _for_each_axis(getattr(self, name), rank)
            if len(value) != rank or min(value) < 1:
                raise ValueError(
                    f"Layer: `{name}` must be positive, one int or one for each of the {rank} spatial axes, got "
                    f"{getattr(self, name)}"
                )
        if 0 in self.output_size:
            raise ValueError(
                f"Layer: the output would be empty, {self.output_size}: input_size={self.input_size} with padding "
                f"{self.padding!r} is smaller than a kernel of size {self.kernel_size}, dilated by "
                f"{self.kernel_dilation}; use a larger input, more padding or a smaller kernel"
            )

    @property
    def in_features(self) -> int:
        """Channels of the input."""
        return self.input_size[-1]

    @functools.cached_property
    def output_size(self) -> tuple[int, ...]:
        """`(*spatial, out_features)` of one example."""
        kernel = (*self.kernel_size, self.in_features, self.out_features)
        out = jax.eval_shape(self._convolve, *map(_shape, ((1, *self.input_size), kernel)))
        return out.shape[1:]

    @functools.cache  # noqa: B019 layers are few and small
    def ordinary_steps(self, batch: int = 1) -> tuple[Step, ...]:
        """The one convolution of the ordinary form."""
        kernel = (*self.kernel_size, self.in_features, self.out_features)
        return (_step("ordinary", self._convolve, (batch, *self.input_size), kernel),)

    @functools.cache  # noqa: B019
    def separable_steps(self, batch: int = 1) -> tuple[Step, ...]:
        """The depthwise and the pointwise convolution; the ordinary one if the layer is not separable."""
        if not self.separable:
            return self.ordinary_steps(batch)
        between = self.in_features * self.channel_multiplier
        depthwise = functools.partial(self._convolve, feature_group_count=self.in_features)
        pointwise = functools.partial(_convolution, padding="VALID")
        ones = (1,) * len(self.kernel_size)
        return (
            _step("depthwise", depthwise, (batch, *self.input_size), (*self.kernel_size, 1, between)),
            _step(
                "pointwise", pointwise, (batch, *self.output_size[:-1], between), (*ones, between, self.out_features)
            ),
        )

    @property
    def ratio(self) -> Fraction:
        """Separable to ordinary multiplications: `channel_multiplier * (1/out_features + 1/prod(kernel_size))`."""
        return multiplications(self).ratio

    def _convolve(self, inputs: jax.Array, kernel: jax.Array, **options: int) -> jax.Array:
        rank = len(self.kernel_size)
        return _convolution(
            inputs,
            kernel,
            window_strides=_for_each_axis(self.strides, rank),
            padding=self.padding,
            rhs_dilation=_for_each_axis(self.kernel_dilation, rank),
            **options,
        )


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
        """Separable to ordinary."""
        return Fraction(self.separable, self.ordinary)


def multiplications(layers: Layer | Sequence[Layer], *, batch: int = 1) -> Multiplications:
    """Counts the multiplications of convolution layers in ordinary and in depthwise separable form.

    They are the mult-adds of MobileNets, https://arxiv.org/abs/1704.04861: every filter position counts, padding
    included; biases, normalisation and activations do not.

    Args:
      layers: one layer, or the layers of a network.
      batch: number of examples.

    Returns:
      The exact numbers, in all layers together.

    Example:
      >>> from jds import cost
      >>> cost.multiplications(cost.Layer("example", (6, 6, 3), 5, (3, 3), padding="VALID"))
      Multiplications(ordinary=2160, separable=672)
    """
    layers = (layers,) if isinstance(layers, Layer) else layers
    return Multiplications(
        sum(step.multiplications for layer in layers for step in layer.ordinary_steps(batch)),
        sum(step.multiplications for layer in layers for step in layer.separable_steps(batch)),
    )


def _step(
    name: Literal["ordinary", "depthwise", "pointwise"], convolve, inputs: tuple[int, ...], kernel: tuple[int, ...]
) -> Step:
    """Counts a convolution of these shapes."""
    counted = analyze(convolve, _shape(inputs), _shape(kernel)).total.multiplications
    parameters, filters = math.prod(kernel[:-1]), kernel[-1]
    return Step(name, parameters, counted // (parameters * filters), filters)


def _convolution(
    inputs: jax.Array, kernel: jax.Array, *, padding: Any, window_strides: tuple[int, ...] = (), **options: Any
) -> jax.Array:
    """With channels last."""
    spatial = "DHW"[-(kernel.ndim - 2) :]
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    strides = window_strides or (1,) * len(spatial)
    return lax.conv_general_dilated(inputs, kernel, strides, padding, dimension_numbers=numbers, **options)


def _shape(sizes: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def _for_each_axis(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else value
