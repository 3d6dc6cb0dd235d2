"""Counts the operations of known functions by the conventions of `jds.cost`, for the readers of all formats."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jds.cost._counts import Counts, Kind
from jds.cost.rules import Cost, WindowAxis, products


class Array(NamedTuple):
    """Shape and dtype of an array of a file."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size as stored: two elements of four bits to a byte."""
        bits = 4 if self.dtype in _FOUR_BITS else 8 * self.dtype.itemsize
        return -(-self.size * bits // 8)

    @property
    def is_integer(self) -> bool:
        """Whether it holds integers or booleans."""
        return self.dtype.kind in "iub" or self.dtype in _FOUR_BITS


_FOUR_BITS = tuple(np.dtype(kind) for kind in (ml_dtypes.int4, ml_dtypes.uint4))


class Padded(NamedTuple):
    """What an array was before zeros were added.

    Attributes:
      shape: its shape.
      low: number of zeros that were added before it, along each axis.
    """

    shape: tuple[int, ...]
    low: tuple[int, ...]


class PerElement(NamedTuple):
    """Operations and transcendental functions for each element of a result."""

    operations: int = 0
    transcendentals: int = 0


# As `jax.nn` computes them: `relu6(x + 3) / 6` is an addition, two limits and a division.
ARITHMETIC, FUNCTION = PerElement(1), PerElement(0, 1)
FUNCTIONS = {
    "celu": PerElement(5, 1),
    "elu": PerElement(5, 1),
    "gelu": PerElement(4, 1),
    "gelu by tanh": PerElement(8, 1),
    "hard_sigmoid": PerElement(4),
    "hard_silu": PerElement(5),
    "leaky_relu": PerElement(3),
    "mish": PerElement(2, 3),
    "relu": ARITHMETIC,
    "relu6": PerElement(2),
    "selu": PerElement(6, 1),
    "sigmoid": FUNCTION,
    "silu": PerElement(1, 1),
    "softplus": PerElement(1, 2),
    "softsign": PerElement(3),
    "tanh": FUNCTION,
}
# Rounding: a division, the nearest integer, the zero point and the limits; and back: the zero point and the scale.
ROUND, UNROUND = PerElement(4), PerElement(2)


def operations(count: int, *, integers: bool, transcendentals: int = 0) -> Counts:
    """Returns operations on integers or on floating-point numbers."""
    if integers:
        return Counts(integer_operations=count, transcendentals=transcendentals)
    return Counts(flops=count, transcendentals=transcendentals)


def elements(size: int, each: PerElement, *, integers: bool) -> Counts:
    """Returns the operations of a function of each element."""
    return operations(size * each.operations, integers=integers, transcendentals=size * each.transcendentals)


def multiply_accumulates(macs: int, *, integers: bool, multiplications: int | None = None) -> Counts:
    """Returns multiply-accumulates, of which those with padding may be counted as multiplications only."""
    multiplications = macs if multiplications is None else multiplications
    return operations(2 * macs, integers=integers)._replace(multiplications=multiplications, macs=macs)


class Convolution(NamedTuple):
    """A convolution.

    Attributes:
      axes: its spatial axes.
      batch: number of examples.
      features: number of filters, of all groups.
      depth: number of input features that a filter reads.
      groups: number of groups.
    """

    axes: tuple[WindowAxis, ...]
    batch: int
    features: int
    depth: int
    groups: int = 1

    @property
    def kind(self) -> Kind:
        """Its kind, by the rule of `jds.cost` for a forward pass."""
        if self.groups == 1:
            return "pointwise" if all(axis.kernel == 1 for axis in self.axes) else "ordinary"
        return "depthwise" if min(self.depth, self.features // self.groups) == 1 else "grouped"


def convolution(conv: Convolution, *, integers: bool, count_padding: bool) -> Cost:
    """Returns the cost of a convolution without bias."""
    each = conv.batch * conv.features * conv.depth
    counted, macs = (
        each * math.prod(products(axis, padding=padding) for axis in conv.axes) for padding in (True, count_padding)
    )
    return Cost(conv.kind, multiply_accumulates(macs, integers=integers, multiplications=counted))


def window(axes: Sequence[WindowAxis], rest: int, *, count_padding: bool) -> int:
    """Returns the number of pairs of an output and an element of its window, for `rest` images of one channel."""
    return rest * math.prod(products(axis, padding=count_padding) for axis in axes)


def costs_of(cost_of: Callable[[Any], Cost | None], operator: Any) -> tuple[Cost | None, Cost | None]:
    """Returns the cost of an operator of a file, and that without padding if it differs."""
    cost = cost_of(operator)
    without = cost_of(operator._replace(count_padding=False)) if operator.count_padding else cost
    return cost, without if without != cost else None


def product(macs: int, *, integers: bool, is_batched: bool = False) -> Cost:
    """Returns the cost of a product of matrices; `is_batched` if both are activations, with batch axes."""
    return Cost("batched" if is_batched else "dense", multiply_accumulates(macs, integers=integers))


def reduction(size: int, results: int, *, integers: bool, more: int = 0, transcendentals: int = 0) -> Cost:
    """Returns the cost of a reduction: one operation for each element but the first of each result, and `more`."""
    count = max(0, size - results) + more
    return Cost("reduction", operations(count, integers=integers, transcendentals=transcendentals))


def softmax(size: int, rows: int, *, integers: bool, is_log: bool = False) -> Cost:
    """Returns the cost of a softmax: maximum, difference, exponential, sum, and quotient or difference."""
    logarithms = rows if is_log else 0
    counts = operations(2 * size + 2 * max(0, size - rows), integers=integers, transcendentals=size + logarithms)
    return Cost("element-wise", counts)


def normalization(size: int, groups: int, *, integers: bool, centered: bool = True, factors: int = 2) -> Cost:
    """Returns the cost of a normalization of groups of elements.

    Args:
      size: number of elements.
      groups: number of means.
      integers: whether it computes in integers.
      centered: whether the mean is subtracted.
      factors: number of arrays that the result is multiplied by and added to.
    """
    # The squares, their mean and the factor; the mean and the differences.
    each = 3 + (2 if centered else 0) + factors
    return Cost("normalization", operations(each * size + groups, integers=integers, transcendentals=groups))


def resize(before: Sequence[int], after: Sequence[int], taps: int, *, integers: bool) -> Cost:
    """Returns the cost of a resize that weighs `taps` neighbors along each axis that it changes."""
    axes = sum(old != new for old, new in zip(before, after, strict=True))
    if taps == 1 or axes == 0:
        return Cost("data movement")
    return Cost("element-wise", operations(math.prod(after) * (2 * taps**axes - 1), integers=integers))


def sorting(size: int, k: int, *, integers: bool) -> Cost:
    """Returns the cost of finding the `k` greatest: comparisons with the least of a heap."""
    return Cost("sorting", operations(size * (1 + math.ceil(math.log2(max(1, k)))), integers=integers))


def plus(cost: Cost, counts: Counts) -> Cost:
    """Returns a cost with more operations of the same node."""
    return Cost(cost.kind, cost.counts + counts)
