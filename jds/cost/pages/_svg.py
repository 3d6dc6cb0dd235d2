"""Axes and shapes of inline SVG, whose colors are those of the page around them."""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

from jds._common.text import Number
from jds.cost._labels import place_labels

WIDTH, HEIGHT = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 16, 44


class Axis(NamedTuple):
    """Maps values to places in the drawing.

    Attributes:
      low, high: the range of values.
      start, end: their places.
      is_log: whether the axis is logarithmic.
    """

    low: Number
    high: Number
    start: Number
    end: Number
    is_log: bool = False

    def __call__(self, value: Number) -> Number:
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return round(self.start + (self.end - self.start) * (value - low) / (high - low), 1)

    def ticks(self) -> list[Number]:
        """Returns round values in the range."""
        return _log_ticks(self.low, self.high) if self.is_log else _linear_ticks(self.low, self.high)


def x_axis(values: Iterable[Number], *, is_log: bool = False) -> Axis:
    """Returns a horizontal axis for values."""
    return Axis(*_range(list(values), is_log), _LEFT, WIDTH - _RIGHT, is_log)


def y_axis(values: Iterable[Number], *, is_log: bool = False) -> Axis:
    """Returns a vertical axis for values."""
    return Axis(*_range(list(values), is_log), HEIGHT - _BOTTOM, _TOP, is_log)


def drawing(title: str, shapes: Iterable[str]) -> str:
    """Returns an `<svg>` element."""
    name = escape(title)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(shapes)}</svg>'


def grid(
    x: Axis, y: Axis, x_label: str, y_label: str, x_text: Callable[[Number], str], y_text: Callable[[Number], str]
) -> str:
    """Draws grid lines, the numbers of the ticks, and the names of the axes."""
    found = []
    for value in x.ticks():
        found.append(line([(x(value), y.start), (x(value), y.end)], "grid"))
        found.append(text(x(value), y.start + 16, x_text(value), "middle"))
    for value in y.ticks():
        found.append(line([(x.start, y(value)), (x.end, y(value))], "grid"))
        found.append(text(x.start - 6, y(value) + 4, y_text(value), "end"))
    found.append(text((x.start + x.end) / 2, HEIGHT - 8, x_label, "middle", "axis"))
    middle = (y.start + y.end) / 2
    turned = f'<text class="axis" transform="rotate(-90)" x="{-middle:g}" y="13" text-anchor="middle">'
    return "".join([*found, f"{turned}{escape(y_label)}</text>"])


def line(points: Iterable[tuple[Number, Number]], css: str) -> str:
    """Draws a line of one or more pieces."""
    return f'<polyline class="{css}" points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>'


def area(points: Iterable[tuple[Number, Number]], css: str) -> str:
    """Draws a filled polygon."""
    return f'<polygon class="{css}" points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>'


def dot(x: Number, y: Number, css: str, tip: str) -> str:
    """Draws a dot with a tooltip."""
    return f'<circle class="{css}" cx="{x:g}" cy="{y:g}" r="4"><title>{escape(tip)}</title></circle>'


def text(x: Number, y: Number, words: str, anchor: str = "start", css: str = "") -> str:
    """Writes words."""
    kind = f' class="{css}"' if css else ""
    return f'<text{kind} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


# The size of a letter in the drawing, about.
_LETTER_WIDTH = 6.6


def labels(places: Sequence[tuple[Number, Number, str]], dots: Iterable[tuple[Number, Number]] = ()) -> str:
    """Writes names next to dots, the first ones first, with a line to those that are not beside their dots.

    Args:
      places: places of dots, and their names.
      dots: places of all dots, which the names avoid. A name for which there is no room is left out.
    """
    inside = (_LEFT, 0, WIDTH - _RIGHT, HEIGHT - _BOTTOM)
    found = []
    for label in place_labels(places, dots, inside, _LETTER_WIDTH):
        found.append(line(label.leader, "leader") if label.leader else "")
        found.append(text(label.left, label.base, label.name, css="label"))
    return "".join(found)


_UNITS = {"P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}


def short(value: Number) -> str:
    """Formats a tick: in full below a hundred thousand, otherwise with a unit."""
    if abs(value) < 100_000:
        return f"{value:.5g}"
    unit = next(unit for unit, size in _UNITS.items() if abs(value) >= size)
    return f"{value / _UNITS[unit]:.4g}{unit}"


def _range(values: list[Number], is_log: bool) -> tuple[Number, Number]:
    low, high = min(values), max(values)
    if is_log:
        return low / 1.6, high * 2.5
    room = 0.05 * (high - low) or abs(high) or 1.0
    return (0.0 if low == 0 else low - room), high + room


def _linear_ticks(low: Number, high: Number) -> list[Number]:
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first = math.ceil(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 1)]


def _log_ticks(low: Number, high: Number) -> list[Number]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 3 else (1, 2, 5)
    return [factor * 10.0**decade for decade in decades for factor in factors if low <= factor * 10.0**decade <= high]
