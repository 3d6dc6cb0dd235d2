"""Where the spatial axes of the image are in an array, and what their positions depend on."""

import functools
import math
from collections.abc import Iterable, Sequence
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

from jds.cost.fields._pattern import Pattern, repeated, through_window, union
from jds.cost.rules import WindowAxis


class Special(Enum):
    """What an array depends on if it has no positions of its own."""

    UNKNOWN = "unknown"
    # Every element depends on the whole image, as after attention.
    EVERYTHING = "everything"


class Factor(NamedTuple):
    """A part of an array's axis: all of it, unless a reshape has merged axes.

    Attributes:
      size: number of positions.
      label: index of the spatial axis of the image whose positions these are; None for others.
    """

    size: int
    label: int | None


Group = tuple[Factor, ...]
Layout = tuple[Group, ...]


class Placed(NamedTuple):
    """An array that depends on the image.

    Attributes:
      patterns: for each spatial axis of the image, what positions depend on; None for all of the axis, as in a mean.
      layout: for each axis of the array, its factors from the slowest to the fastest. Factors of one element are left
        out if they have no label. A label occurs once, or not at all if the array has no positions along the axis.
    """

    patterns: tuple[Pattern | None, ...]
    layout: Layout

    @property
    def places(self) -> tuple[int | None, ...]:
        """For each spatial axis of the image, the axis of the array that has its positions."""
        return _places(self.layout, len(self.patterns))

    @property
    def strides(self) -> tuple[Fraction | None, ...]:
        """For each spatial axis of the image, its positions between neighbors; None along an axis of which all is
        read."""
        return tuple(
            None if pattern is None else pattern.stride / (1 if place is None else _times(self.layout[place]))
            for pattern, place in zip(self.patterns, self.places, strict=True)
        )


# None for an array that does not depend on the image.
State = Placed | Special | None


def plain(size: int) -> Group:
    """Returns the factors of an axis without positions of the image."""
    return () if size == 1 else (Factor(size, None),)


def _times(group: Group) -> int:
    """Returns how often an axis of the image repeats each position, as in a nearest-neighbor resize."""
    has_one_label = bool(group) and group[0].label is not None and len(labels([group])) == 1
    return math.prod(factor.size for factor in group[1:]) if has_one_label else 1


def labels(groups: Iterable[Group]) -> list[int]:
    """Returns the labels of some axes."""
    return [factor.label for group in groups for factor in group if factor.label is not None]


@functools.lru_cache(4096)
def _places(layout: Layout, count: int) -> tuple[int | None, ...]:
    found = {label: axis for axis, group in enumerate(layout) for label in labels([group])}
    return tuple(found.get(label) for label in range(count))


@functools.lru_cache(4096)
def reshaped(state: Placed, shape: tuple[int, ...]) -> State:
    """Returns an array under another shape.

    An axis of positions may be split into blocks, whose elements count as one position.
    """
    patterns, waiting, layout = list(state.patterns), _flat(state.layout)[::-1], []
    for size in shape:
        group, rest = [], size
        # An axis of one element takes one of the image's axes if that is next.
        while waiting and (rest > 1 or (size == 1 and not group and waiting[-1].size == 1)):
            factor = waiting.pop()
            if rest % factor.size == 0:
                group.append(factor)
                rest //= factor.size
                continue
            if factor.size % rest:
                return Special.UNKNOWN
            block = factor.size // rest
            group.append(Factor(rest, factor.label))
            waiting.append(Factor(block, None))
            rest = 1
            if factor.label is not None:
                patterns[factor.label] = _blocks(patterns[factor.label], block)
        if rest != 1:
            return Special.UNKNOWN
        layout.append(tuple(group))
    return Placed(tuple(patterns), tuple(layout))


def _blocks(pattern: Pattern | None, size: int) -> Pattern | None:
    return pattern and through_window(pattern, WindowAxis(0, size, 0, stride=size))


def _flat(layout: Layout) -> list[Factor]:
    """Returns the factors of all axes; neighbors without a label are one."""
    found: list[Factor] = []
    for factor in (factor for group in layout for factor in group):
        if found and factor.label is None and found[-1].label is None:
            found[-1] = Factor(found[-1].size * factor.size, None)
        else:
            found.append(factor)
    return found


def slide(state: Placed, windows: Sequence[WindowAxis]) -> State:
    """Returns the result of a window, given along each axis of an array."""
    patterns, layout = list(state.patterns), []
    for group, axis in zip(state.layout, windows, strict=True):
        found = labels([group])
        if axis == WindowAxis(axis.input, 1, axis.input):
            layout.append(group)
        elif not found:
            layout.append(plain(axis.output))
        elif len(found) > 1 or group[0].label is None:
            return Special.UNKNOWN  # several axes of the image are merged here
        else:
            (label,) = found
            before, times = patterns[label], _times(group)
            before = repeated(before, times) if before and times > 1 else before
            after = before and through_window(before, axis._replace(input=0, output=0))
            if after is None:
                return Special.UNKNOWN
            patterns[label] = after
            layout.append((Factor(axis.output, label),))
    return Placed(tuple(patterns), tuple(layout))


def merged(states: Iterable[State]) -> State:
    """Returns an array whose elements depend on those at the same place of several arrays of one shape.

    An array without positions along an axis of the image, such as a mean, does not count next to one with positions.
    """
    found = list(dict.fromkeys(state for state in states if state is not None))
    for special in Special:
        if special in found:
            return special
    result, *others = found or [None]
    for state in others:
        if isinstance(result, Placed) and isinstance(state, Placed):
            result = _pair(result, state)
    return result


def _joined(state: Placed) -> Placed:
    """Returns an array with repeated positions as positions of their own."""
    patterns, layout = list(state.patterns), []
    for group in state.layout:
        times, found = _times(group), labels([group])
        before = patterns[found[0]] if times > 1 else None
        after = before and repeated(before, times)
        if after is not None:
            patterns[found[0]] = after
            group = (Factor(math.prod(factor.size for factor in group), found[0]),)
        layout.append(group)
    return Placed(tuple(patterns), tuple(layout))


@functools.lru_cache(4096)
def _pair(a: Placed, b: Placed) -> State:
    if len(a.layout) != len(b.layout):  # an array, and a number to begin with or to pad with
        return max(a, b, key=lambda state: len(state.layout))
    if a.layout != b.layout:
        a, b = _joined(a), _joined(b)
    patterns = []
    for own, other, place, other_place in zip(a.patterns, b.patterns, a.places, b.places, strict=True):
        if place is not None and other_place is not None and place != other_place:
            return Special.EVERYTHING  # all pairs of positions, as in attention
        if (place is None) != (other_place is None):
            patterns.append(own if other_place is None else other)
        elif own is None or other is None:
            patterns.append(None)
        elif (both := union(own, other)) is not None:
            patterns.append(both)
        else:
            return Special.UNKNOWN
    layout = []
    for group, other_group in zip(a.layout, b.layout, strict=True):
        mine, others = labels([group]), labels([other_group])
        if mine and others and mine != others:
            return Special.UNKNOWN
        layout.append(group if mine else other_group)
    return Placed(tuple(patterns), tuple(layout))
