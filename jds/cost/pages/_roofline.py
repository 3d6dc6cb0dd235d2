"""A roofline as inline SVG."""

from jds.cost._columns import NO_LAYER
from jds.cost._roofline import Dot, Roofline
from jds.cost.pages import _html, _svg

_X_LABEL = "FLOPs per byte of the minimum traffic"
_LABELS = 6
_LONGEST_LABEL = 26


def roofline_figure(found: Roofline) -> str:
    """Draws a roofline, with one dot per row, as a `<figure>`."""
    ridge, (unit, size) = found.ridge, found.unit
    x = _svg.x_axis([ridge / 4, ridge * 4, *(dot.row.intensity for dot in found.dots)], is_log=True)
    y = _svg.y_axis([found.roof / 100, found.roof, *(dot.rate for dot in found.dots)], is_log=True)
    corners = [x.low, ridge, x.high]
    # A slope that begins below the drawing begins at its edge.
    corners[0] = max(x.low, y.low / found.bandwidth)
    shapes = [
        _svg.grid(x, y, _X_LABEL, unit, _number, lambda rate: _number(rate / size)),
        _svg.line([(x(corner), y(found.at_most(corner))) for corner in corners], "roof"),
        _svg.line([(x(ridge), y(found.roof)), (x(ridge), y.start)], "ridge"),
        # The hollow ones lie on the roof, and so are drawn first.
        *(_dot(dot, found, x, y) for dot in sorted(found.dots, key=lambda dot: dot.is_measured)),
        _svg.labels(
            [
                (x(ridge), y.start - 10, f"ridge: {ridge:.3g} FLOP/B"),
                (x.end - 140, y(found.roof) - 12, f"roof: {found.rate(found.roof)}"),
                *((x(dot.row.intensity), y(dot.rate), _short(dot.row.name)) for dot in found.labeled(_LABELS)),
            ],
            [(x(dot.row.intensity), y(dot.rate)) for dot in found.dots],
        ),
    ]
    drawing = _svg.drawing(f"Roofline of {found.device}", shapes)
    legend = _html.legend(dot.row.kind for dot in found.dots)
    return _html.figure("Roofline", drawing, found.caption(), legend)


def _dot(dot: Dot, found: Roofline, x: _svg.Axis, y: _svg.Axis) -> str:
    css = f"dot {_html.css_class(dot.row.kind)}" + ("" if dot.is_measured else " open")
    rate = f"{found.rate(dot.rate)} {'measured' if dot.is_measured else 'at most, no measured time'}"
    tip = f"{dot.row.name or NO_LAYER}: {dot.row.intensity:.3g} FLOP/B, {rate}"
    return _svg.dot(x(dot.row.intensity), y(dot.rate), css, tip)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else "…" + name[1 - _LONGEST_LABEL :]


def _number(value: float) -> str:
    return f"{value:g}"
