"""An analysis as HTML: a self-contained page that works offline, or a table for a notebook."""

from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from jds.cost._bounds import Estimate
from jds.cost._columns import Column, Line, columns, lines, total_line
from jds.cost._grouping import Grouping

if TYPE_CHECKING:
    from jds.cost._analysis import Analysis


def page(analysis: "Analysis", grouping: Grouping, estimate: Estimate | None) -> str:
    """Returns an analysis as a self-contained page: a sortable table with bars, the notes, and a roofline."""
    headings, body, foot = _table(analysis, grouping, estimate)
    figure = ""
    if estimate is not None:
        # Imported here, because Matplotlib is slower to import than jds.
        from jds.cost import _plot

        figure = _plot.roofline_figure(estimate, analysis.by(grouping))
    template = Template(resources.files("jds.cost").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(analysis.name),
        headings="".join(f'<th scope="col"><button>{escape(heading)}</button></th>' for heading in headings),
        rows="\n".join(f"<tr>{cells}</tr>" for cells in body),
        total=foot,
        figure=figure,
        notes=_paragraphs([*analysis.notes(), *(estimate.notes() if estimate else [])]),
    )


def fragment(analysis: "Analysis", grouping: Grouping) -> str:
    """Returns rows and notes as a table and paragraphs, to embed in another page."""
    headings, body, foot = _table(analysis, grouping, None)
    cells = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    rows = "".join(f"<tr>{row}</tr>" for row in body)
    return (
        f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody><tfoot><tr>{foot}</tr></tfoot></table>"
        f"{_paragraphs(analysis.notes())}"
    )


def _paragraphs(notes: Sequence[str]) -> str:
    return "".join(f"<p>{escape(note)}</p>" for note in notes)


def _table(analysis: "Analysis", grouping: Grouping, estimate: Estimate | None) -> tuple[list[str], list[str], str]:
    """Returns the headings, the cells of each row, and the cells of the total."""
    shown = columns(grouping, analysis.total, estimate, is_padded=analysis.conventions.count_padding)
    rows = lines(analysis.by(grouping), analysis.total, estimate)
    total = total_line(analysis.total, estimate, is_lower_bound=analysis.is_lower_bound)
    return [column.heading for column in shown], [_cells(shown, line) for line in rows], _cells(shown, total)


def _cells(shown: Sequence[Column], line: Line) -> str:
    return "".join(_cell(column, line) for column in shown)


def _cell(column: Column, line: Line) -> str:
    if not column.is_number:
        return f"<td>{escape(column.text(line))}</td>"
    return f'<td data-value="{column.value(line)}">{escape(column.text(line))}</td>'
