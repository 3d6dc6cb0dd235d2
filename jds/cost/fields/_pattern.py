"""The positions of an image that the positions of an array depend on, along one axis, through any number of windows."""

import functools
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from jds.cost.rules import WindowAxis

_Span = tuple[int, int]

# Longer periods come from unusual mixtures of strides only.
_LONGEST = 4096


class Pattern(NamedTuple):
    """What the positions along an axis depend on; holes and padding do not end it.

    Position `o` depends on the image's positions from the first to the last of `spans[o % n]`, moved by
    `shift * (o // n)`, where `n` is the number of spans.

    Attributes:
      shift: how far the image's positions move in a period.
      spans: the first and the last position for each position of a period; None for a hole, which depends on nothing.
    """

    shift: int
    spans: tuple[_Span | None, ...]

    @property
    def size(self) -> int:
        """The most positions that one position depends on, from the first to the last."""
        return max((last - first + 1 for first, last in filter(None, self.spans)), default=0)

    @property
    def stride(self) -> Fraction:
        """Positions of the image between neighbors."""
        return Fraction(self.shift, len(self.spans))

    def at(self, position: int) -> _Span | None:
        """Returns the first and the last position that a position depends on."""
        period, place = divmod(position, len(self.spans))
        span = self.spans[place]
        return span and (span[0] + self.shift * period, span[1] + self.shift * period)


IMAGE = Pattern(1, ((0, 0),))


@functools.lru_cache(4096)
def through_window(pattern: Pattern, axis: WindowAxis) -> Pattern | None:
    """Returns the pattern of the results of a window; None if its period is too long."""
    # In positions between which the holes of `lhs_dilation` lie.
    period = len(pattern.spans) * axis.lhs_dilation
    count = period // math.gcd(period, axis.stride)
    if count > _LONGEST:
        return None
    # Positions of the kernel that are a period apart read the same span, moved: the outermost ones are enough.
    taps = range(axis.kernel)
    if axis.kernel > 2 * period:
        taps = (*taps[:period], *taps[-period:])
    starts = (axis.stride * o - axis.low for o in range(count))
    spans = tuple(
        _hull(
            pattern.at(place // axis.lhs_dilation)
            for tap in taps
            if (place := start + axis.rhs_dilation * tap) % axis.lhs_dilation == 0
        )
        for start in starts
    )
    return Pattern(pattern.shift * (axis.stride * count // period), spans)


@functools.lru_cache(4096)
def repeated(pattern: Pattern, times: int) -> Pattern | None:
    """Returns the pattern of positions that are each repeated; None if its period is too long."""
    if len(pattern.spans) * times > _LONGEST:
        return None
    return Pattern(pattern.shift, tuple(span for span in pattern.spans for _ in range(times)))


@functools.lru_cache(4096)
def union(a: Pattern, b: Pattern) -> Pattern | None:
    """Returns the pattern of positions that depend on both; None if their strides differ."""
    period = math.lcm(len(a.spans), len(b.spans))
    if a.stride != b.stride or period > _LONGEST:
        return None
    spans = tuple(_hull((a.at(o), b.at(o))) for o in range(period))
    return Pattern(a.shift * (period // len(a.spans)), spans)


def _hull(spans: Iterable[_Span | None]) -> _Span | None:
    found = list(filter(None, spans))
    return (min(first for first, _ in found), max(last for _, last in found)) if found else None
