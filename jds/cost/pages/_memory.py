"""The memory of a program as it runs, as inline SVG."""

import itertools
import operator
from collections.abc import Iterator, Sequence
from html import escape

from jds._common.text import short_number
from jds.cost._memory import KEPT, PART_NAMES, Memory, Moment
from jds.cost.pages import _html, _svg

# More points than the drawing has places are drawn as the greatest of each few.
_POINTS = 500
_STAGES, _DEPTH = 60, 2


def memory_figure(memory: Memory) -> str:
    """Draws the bytes over the operations, with the peak, as a `<figure>`; empty if there are no operations."""
    if not memory.curve:
        return ""
    kept = _kept(memory)
    sizes = [moment.bytes - kept for moment in memory.curve]
    x, y = _svg.x_axis([0, len(sizes)])._replace(high=len(sizes)), _svg.y_axis([0, max(sizes)])
    outline = [(x(place), y(size)) for place, size in _steps(sizes)]
    peak = sizes.index(max(sizes))
    place = x(peak + 0.5), y(sizes[peak])
    shapes = [
        _svg.grid(x, y, "operations, in order", "bytes", _svg.short, _svg.short),
        _svg.area([(x.start, y.start), *outline, (x.end, y.start)], "memory"),
        _svg.line(outline, "curve"),
        *_stages(memory.curve, x, y),
        _svg.dot(*place, "peak", f"peak: {short_number(memory.bytes)} bytes"),
        _svg.labels([(*place, memory.layer or memory.operation)]),
    ]
    drawing = _svg.drawing("Memory over the operations of the program", shapes)
    stays = f"; not drawn: {short_number(kept)} of parameters and state, which stay" if kept else ""
    caption = (
        f"Peak: {short_number(memory.bytes)} bytes{memory.place} ({memory.operation}){stays}. "
        f"{len(sizes)} operations; an array is freed after the last one that reads it."
    )
    return _html.figure("Memory", drawing, caption, _parts(memory, is_all_drawn=not kept))


def _kept(memory: Memory) -> int:
    """Returns the bytes of what is in memory all the time, which would hide the rest; 0 if there are none."""
    kept = sum(memory.parts.get(part, 0) for part in KEPT)
    return kept if kept <= min(moment.bytes for moment in memory.curve) else 0


def _steps(sizes: Sequence[int]) -> Iterator[tuple[float, int]]:
    """Yields the corners of a curve that is constant during each operation."""
    wide = -(-len(sizes) // _POINTS)
    for start in range(0, len(sizes), wide):
        some = sizes[start : start + wide]
        yield start, max(some)
        yield start + len(some), max(some)


def _stages(curve: Sequence[Moment], x: _svg.Axis, y: _svg.Axis) -> Iterator[str]:
    """Yields areas that tell the stage and its most bytes when pointed at, unless the stages take turns often."""
    for depth in range(_DEPTH, 0, -1):
        runs = [
            (stage, [size for _, size in run])
            for stage, run in itertools.groupby(
                ((_stage(moment, depth), moment.bytes) for moment in curve), operator.itemgetter(0)
            )
        ]
        if len(runs) <= _STAGES:
            break
    else:
        return
    start = 0
    for stage, run in runs:
        tip = f"{stage or 'outside of all layers'}: at most {short_number(max(run))} bytes"
        left, right = x(start), x(start + len(run))
        start += len(run)
        place = f'x="{left:g}" y="{y.end}" width="{right - left:g}" height="{y.start - y.end}"'
        yield f'<rect class="stage" {place}><title>{escape(tip)}</title></rect>'


def _stage(moment: Moment, depth: int) -> str:
    return "/".join(moment.layer.split("/")[:depth])


def _parts(memory: Memory, *, is_all_drawn: bool) -> str:
    rows = "".join(
        f'<tr><th scope="row" class="{"drawn" if is_all_drawn or part not in KEPT else ""}">{PART_NAMES[part]}</th>'
        f"<td>{short_number(size)}</td><td>{100 * size / memory.bytes:.0f}%</td></tr>"
        for part, size in memory.parts.items()
        if size
    )
    return f'<table class="parts" aria-label="Bytes at the peak"><tbody>{rows}</tbody></table>'
