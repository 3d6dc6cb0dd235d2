"""A comparison as a self-contained page that works offline."""

from collections.abc import Iterator

from jds._common.text import short_number
from jds.cost._columns import NO_LAYER
from jds.cost._comparison import FIGURES, Comparison, Pair, change
from jds.cost._palette import OTHER
from jds.cost.pages import _html
from jds.cost.pages._html import Cell, Entry, Heading

_EXPLANATIONS = {
    "mult-adds": "Multiply-accumulates.",
    "params": "Elements of the parameters.",
    "traffic": "Bytes that are read and written at least, with intermediate values on the chip.",
}


def comparison_page(comparison: Comparison) -> str:
    """Returns a comparison as a page."""
    title = f"{comparison.name} against {comparison.reference}"
    headings = [Heading("layer", is_number=False), *_headings(comparison)]
    entries = [_entry(pair) for pair in comparison.rows]
    sections = [
        _html.facts(title),
        _html.figures(_figures(comparison)),
        _html.table(title, headings, entries, [_entry(comparison.total)]),
        _html.notes(comparison.notes()),
    ]
    return _html.document(title, sections)


def _figures(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    _, row, reference = comparison.total
    if row is not None and reference is not None:
        for name, _, figure in FIGURES:
            yield _figure(name, figure(row), figure(reference))
    yield _figure("peak memory", *comparison.peaks)


def _figure(name: str, count: int, reference: int) -> tuple[str, str, str]:
    return name.capitalize(), short_number(count), f"against {short_number(reference)}: {change(count, reference)}"


def _headings(comparison: Comparison) -> Iterator[Heading]:
    for name, _, _ in FIGURES:
        yield Heading(name, f"{_EXPLANATIONS[name]} {comparison.name}.", bars=name)
        yield Heading("against", f"{_EXPLANATIONS[name]} {comparison.reference}.", bars=name)
        yield Heading("change", f"How much more {comparison.name} has than {comparison.reference}.", bars="")


def _entry(pair: Pair) -> Entry:
    row = pair.row or pair.reference
    return Entry(pair.name or NO_LAYER, list(_cells(pair)), OTHER if row is None else row.kind)


def _cells(pair: Pair) -> Iterator[Cell]:
    for _, _, figure in FIGURES:
        count, reference = (None if row is None else figure(row) for row in pair[1:])
        yield from (Cell("") if each is None else Cell(short_number(each), each) for each in (count, reference))
        if count is None or reference is None:
            yield Cell("")
        else:
            yield Cell(change(count, reference), count - reference)
