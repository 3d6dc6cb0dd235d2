"""An analysis as a self-contained page that works offline."""

from collections.abc import Iterable, Iterator, Sequence

from jds._common.text import short_number
from jds.cost._analysis import Analysis
from jds.cost._bounds import Bound, Estimate, microseconds
from jds.cost._columns import NO_LAYER, Column, Line, columns, count_text, total_line
from jds.cost._grouping import Grouping
from jds.cost._roofline import roofline
from jds.cost.pages import _html
from jds.cost.pages._html import Cell, Entry, Heading
from jds.cost.pages._memory import memory_figure
from jds.cost.pages._roofline import roofline_figure
from jds.cost.pages._tree import Branch, branches

# With more rows, those below this depth are folded at first.
_ROWS_AT_MOST, _DEPTH_AT_FIRST = 40, 2
# Columns whose numbers are no amounts.
_WITHOUT_BARS = ("field", "stride")


def analysis_page(analysis: Analysis, grouping: Grouping, estimate: Estimate | None) -> str:
    """Returns an analysis as a page: its most important numbers, its rows, a roofline, and a memory curve."""
    drawings = [] if estimate is None else [roofline_figure(roofline(analysis, grouping, estimate))]
    drawings.append(memory_figure(analysis.memory))
    sections = [
        _html.facts(analysis.name),
        _html.figures(_figures(analysis, estimate)),
        _rows(analysis, grouping, estimate),
        f'<div class="drawings">{"".join(drawings)}</div>',
        _html.notes([*analysis.notes(), *(estimate.notes() if estimate else [])]),
    ]
    return _html.document(analysis.name, sections)


def _figures(analysis: Analysis, estimate: Estimate | None) -> Iterator[tuple[str, str, str]]:
    total, memory = analysis.total, analysis.memory
    padding = "with padding" if analysis.conventions.count_padding else "without padding"
    yield "Mult-adds", count_text(total, total.macs), padding
    yield "FLOPs", count_text(total, total.flops), "floating-point operations"
    yield "Parameters", short_number(total.parameters), f"{short_number(total.parameter_bytes)} bytes"
    yield "Traffic", short_number(total.traffic), "bytes: arguments, results and parameters"
    where = f"bytes{memory.place}; {short_number(memory.activation_bytes)} without what is kept"
    yield "Peak memory", short_number(memory.bytes), where
    if estimate is not None:
        least = f"on {estimate.peak.name}, by {estimate.total.limit}"
        yield "Least time", f"{microseconds(estimate.total.seconds)} µs", least
    if estimate is not None and estimate.total.measured is not None:
        yield "Measured time", f"{microseconds(estimate.total.measured)} µs", _spread(estimate)


def _spread(estimate: Estimate) -> str:
    if estimate.measured is None:
        return "median"
    low, _, high = estimate.measured.total
    return f"median; half of the runs: {microseconds(low)} to {microseconds(high)} µs"


def _rows(analysis: Analysis, grouping: Grouping, estimate: Estimate | None) -> str:
    rows, is_padded = analysis.by(grouping), analysis.conventions.count_padding
    shown = columns(grouping, rows, analysis.total, estimate, is_padded=is_padded)
    tree = branches(analysis, grouping, estimate)
    is_long = sum(branch.rows for branch in tree) > _ROWS_AT_MOST
    entries = [*_entries(tree, shown[1:], is_long), *_other_times(shown[1:], estimate)]
    total = total_line(analysis.total, estimate)
    headings = [_heading(column) for column in shown]
    title = f"{analysis.name} by {grouping.by}"
    return _html.table(title, headings, entries, [Entry("total", _cells(shown[1:], total))])


def _heading(column: Column) -> Heading:
    bars = "" if column.heading in _WITHOUT_BARS else None
    return Heading(column.heading, column.explanation, column.is_number, column.heading == "kind", bars)


def _entries(
    tree: Iterable[Branch], shown: Sequence[Column], is_long: bool, level: int = 0, above: str = ""
) -> Iterator[Entry]:
    for branch in tree:
        row = branch.line.row
        is_folded = bool(branch.inside) and is_long and branch.depth >= _DEPTH_AT_FIRST
        cells = _cells(shown, branch.line)
        yield Entry(row.name or NO_LAYER, cells, row.kind, level, above, bool(branch.inside), is_folded)
        yield from _entries(branch.inside, shown, is_long, level + 1, row.name)


def _other_times(shown: Sequence[Column], estimate: Estimate | None) -> Iterator[Entry]:
    """Yields the measured times that belong to none of the rows."""
    for bound in estimate.other_rows if estimate else ():
        yield Entry(bound.name or NO_LAYER, [_other_time(column, bound) for column in shown])


def _other_time(column: Column, bound: Bound) -> Cell:
    if column.heading != "measured" or bound.measured is None:
        return Cell("")
    return Cell(microseconds(bound.measured), bound.measured)


def _cells(shown: Sequence[Column], line: Line) -> list[Cell]:
    return [_cell(column, line) for column in shown]


def _cell(column: Column, line: Line) -> Cell:
    text = column.text(line)
    return Cell(text, column.value(line) if column.is_number and text else None)
