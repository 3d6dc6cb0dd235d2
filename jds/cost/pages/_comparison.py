"""A comparison as a self-contained page that works offline."""

from collections.abc import Iterator

from jds._common.text import short_number
from jds.cost._columns import NO_LAYER
from jds.cost._comparison import FIGURES, Comparison, Pair, cells, change
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
    texts = [text for text, _ in cells(comparison.total)]
    for number, (name, _, _) in enumerate(FIGURES):
        text, reference, difference = texts[3 * number :][:3]
        yield name.capitalize(), text, f"against {reference}: {difference}"
    peak, reference = map(short_number, comparison.peaks)
    yield "Peak memory", peak, f"against {reference}: {change(*comparison.peaks)}"


def _headings(comparison: Comparison) -> Iterator[Heading]:
    for name, _, _ in FIGURES:
        yield Heading(name, f"{_EXPLANATIONS[name]} {comparison.name}.", bars=name)
        yield Heading("against", f"{_EXPLANATIONS[name]} {comparison.reference}.", bars=name)
        yield Heading("change", f"How much more {comparison.name} has than {comparison.reference}.", bars="")


def _entry(pair: Pair) -> Entry:
    row = pair.row or pair.reference
    return Entry(pair.name or NO_LAYER, [Cell(*each) for each in cells(pair)], OTHER if row is None else row.kind)
