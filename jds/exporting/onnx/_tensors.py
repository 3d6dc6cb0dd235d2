"""Arrays of an ONNX graph, and in which order their axes are stored.

Convolutions in ONNX have channels first. An array of the program is therefore stored with its axes in an order of its
own, which its `Tensor` records: transposing an array means to change the record, not the graph.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jds.exporting._sizes import is_size, same_shape

Order = tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """An array that the graph computes.

    Attributes:
      name: its name in the graph.
      sizes: its sizes, in the order of the program; 1 for axes along which it is to be broadcast.
      shape: its shape in the program.
      order: the axes of the program, in the order in which they are stored.
      dtype: its dtype in the graph.
    """

    name: str
    sizes: tuple[Any, ...]
    shape: tuple[Any, ...]
    order: Order
    dtype: np.dtype

    @property
    def stored(self) -> tuple[Any, ...]:
        """The sizes in the order in which they are stored."""
        return tuple(self.sizes[axis] for axis in self.order)

    @property
    def is_full(self) -> bool:
        """Whether no axis is to be broadcast."""
        return same_shape(self.sizes, self.shape)

    def position(self, axis: int) -> int:
        """Returns where an axis of the program is stored."""
        return self.order.index(axis)


def channels_first(rank: int) -> Order:
    """The order of axes in ONNX of a channels-last array `(batch, *spatial, features)`."""
    return (0, rank - 1, *range(1, rank - 1)) if rank > 2 else tuple(range(rank))


def count(sizes: Sequence[Any]) -> int:
    """Number of elements, where a symbolic size counts as 1."""
    return math.prod(size for size in sizes if isinstance(size, int))


class Group(NamedTuple):
    """Axes before a reshape, and the axes after it that have the same elements."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def groups_of(before: Sequence[Any], after: Sequence[Any]) -> list[Group]:
    """Divides a reshape into parts that leave the order of the other axes alone.

    Args:
      before, after: the shapes, which may be symbolic.

    Returns:
      The smallest groups of neighboring axes, from the first to the last.

    Example:
      >>> from jds.exporting.onnx._tensors import groups_of
      >>> [tuple(group) for group in groups_of((2, 7, 7, 64), (2, 49, 4, 16))]
      [((0,), (0,)), ((1, 2), (1,)), ((3,), (2, 3))]
    """
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        old, new = before[i] if i < len(before) else 1, after[j] if j < len(after) else 1
        if i < len(before) and j < len(after) and is_size(old, new):
            ends = i + 1, j + 1
        elif i < len(before) and is_size(old, 1):
            ends = i + 1, j
        elif j < len(after) and is_size(new, 1):
            ends = i, j + 1
        else:
            ends = _ends_of_group(before, after, i, j)
        groups.append(Group(tuple(range(i, ends[0])), tuple(range(j, ends[1]))))
        i, j = ends
    return groups


def _ends_of_group(before: Sequence[Any], after: Sequence[Any], i: int, j: int) -> tuple[int, int]:
    """Returns the ends of the group that begins at axes `i` and `j`, whose sizes differ and are not 1."""
    for end in range(i + 1, len(before) + 1):
        size = math.prod(before[i:end])
        for other in range(j + 1, len(after) + 1):
            if is_size(size, math.prod(after[j:other])):
                return end, other
    return len(before), len(after)
