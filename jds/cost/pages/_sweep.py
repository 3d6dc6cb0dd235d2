"""A sweep as a self-contained page that works offline."""

from collections.abc import Iterator

from jds._common.text import Number
from jds.cost._pareto import LABELS_AT_MOST, Panel, label, panels, settings_text
from jds.cost._sweep import Point, Sweep
from jds.cost.pages import _html, _svg
from jds.cost.pages._html import Cell, Entry, Heading


def sweep_page(sweep: Sweep) -> str:
    """Returns a sweep as a page: a table, and what each cost buys."""
    settings = list(sweep.points[0].settings) if sweep.points else []
    title = f"{sweep.name}: {' × '.join(settings)}"
    headings = [Heading("settings", is_number=False), *_headings(sweep, settings)]
    entries = [Entry(settings_text(point), list(_cells(point)), "pointwise") for point in sweep.points]
    drawings = "".join(_drawing(sweep, panel) for panel in panels(sweep)) if sweep.points else ""
    sections = [
        _html.facts(title),
        _html.table(title, headings, entries),
        f'<div class="drawings">{drawings}</div>',
        _html.notes(sweep.notes()),
    ]
    return _html.document(title, sections)


def _headings(sweep: Sweep, settings: list[str]) -> Iterator[Heading]:
    for name in settings:
        yield Heading(name, bars="")
    yield Heading("mult-adds", "Multiply-accumulates.")
    yield Heading("params", "Elements of the parameters.")
    yield Heading("peak memory", "Bytes, without parameters and state.")
    if sweep.device:
        words = "Measured time on this machine: the median." if sweep.is_measured else f"Lower bound on {sweep.device}."
        yield Heading(sweep.time_heading, words)


def _cells(point: Point) -> Iterator[Cell]:
    values = (*point.settings.values(), point.macs, point.parameters, point.peak_bytes, point.seconds)
    yield from map(Cell, point.texts, values)


def _drawing(sweep: Sweep, panel: Panel) -> str:
    x = _svg.x_axis(panel.x.of(point) for point in sweep.points)
    y = _svg.y_axis(panel.y.of(point) for point in sweep.points)

    def place(point: Point) -> tuple[Number, Number]:
        return x(panel.x.of(point)), y(panel.y.of(point))

    named = sweep.points if len(sweep.points) <= LABELS_AT_MOST else panel.front
    shapes = [
        _svg.grid(x, y, panel.x.name, panel.y.name, _svg.short, _svg.short),
        _svg.line([place(point) for point in panel.front], "front"),
        *(
            _svg.dot(*place(point), "dot point" if point in panel.front else "dot open point", _tip(panel, point))
            for point in sweep.points
        ),
        _svg.labels([(*place(point), label(point)) for point in named], [place(point) for point in sweep.points]),
    ]
    heading = f"{panel.y.name.capitalize()} by {panel.x.name}"
    return _html.figure(heading, _svg.drawing(heading, shapes), panel.caption)


def _tip(panel: Panel, point: Point) -> str:
    figures = ", ".join(f"{quantity.name} {_svg.short(quantity.of(point))}" for quantity in (panel.x, panel.y))
    return f"{settings_text(point)}: {figures}"
