"""Which programs of a sweep have the most for what they cost."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jds._common.text import Number
from jds.cost._sweep import Point, Sweep, setting_text


class Quantity(NamedTuple):
    """A figure of a program: its name, and how to get it."""

    name: str
    of: Callable[[Point], Number]


class Panel(NamedTuple):
    """Points by two quantities.

    Attributes:
      x: a cost, of which less is better.
      y: what it buys, of which more is better.
      front: the points with more of `y` than all others that cost no more, the cheapest first.
    """

    x: Quantity
    y: Quantity
    front: tuple[Point, ...]

    @property
    def caption(self) -> str:
        """Says what the front is."""
        return f"Line: the most {self.y.name} for no more {self.x.name}."


_MACS = Quantity("mult-adds", lambda point: point.macs)
_PARAMETERS = Quantity("parameters", lambda point: point.parameters)
_PEAK = Quantity("bytes of peak memory", lambda point: point.peak_bytes)
_TIME = Quantity("milliseconds", lambda point: 1e3 * (point.seconds or 0.0))
# With more points, only those of the front have labels.
LABELS_AT_MOST = 12


def panels(sweep: Sweep) -> list[Panel]:
    """Returns what to draw of a sweep: what each cost buys.

    Mult-adds and parameters stand for what a network can do, as its accuracy is not known here.
    """
    pairs = [(_PARAMETERS, _MACS), (_PEAK, _MACS), *([(_TIME, _MACS)] if sweep.device else []), (_PEAK, _PARAMETERS)]
    return [Panel(x, y, front(sweep.points, x, y)) for x, y in pairs]


def front(points: Sequence[Point], x: Quantity, y: Quantity) -> tuple[Point, ...]:
    """Returns the points with more of `y` than all others with no more of `x`, those with the least of `x` first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (x.of(point), -y.of(point))):
        if not found or y.of(point) > y.of(found[-1]):
            found.append(point)
    return tuple(found)


def settings_text(point: Point) -> str:
    """Returns what a point was made with, in short."""
    return ", ".join(f"{name} {setting_text(value)}" for name, value in point.settings.items())


def label(point: Point) -> str:
    """Returns the values of the settings, for a label at a point."""
    return ", ".join(map(setting_text, point.settings.values()))
