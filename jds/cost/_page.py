"""An analysis as HTML: a self-contained page that works offline, or a table for a notebook."""

from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

from jds._common.text import short_number
from jds.cost._bounds import Bound, Estimate, microseconds, share
from jds.cost._rows import By, CostRow

_COLUMNS = ("params", "bytes in", "bytes out", "traffic", "FLOP/B")


def page(
    title: str, by: By, rows: Sequence[CostRow], total: CostRow, notes: Sequence[str], estimate: Estimate | None
) -> str:
    """Returns rows as a self-contained page: a sortable table with bars, the notes, and a roofline."""
    headings, body, foot = _table(by, rows, total, estimate)
    figure = ""
    if estimate is not None:
        # Imported here, because Matplotlib is slower to import than jds.
        from jds.cost import _plot

        figure = _plot.roofline_figure(estimate, rows)
    template = Template(resources.files("jds.cost").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        headings="".join(f'<th scope="col"><button>{escape(heading)}</button></th>' for heading in headings),
        rows="\n".join(f"<tr>{cells}</tr>" for cells in body),
        total=foot,
        figure=figure,
        notes=_paragraphs([*notes, *(estimate.notes() if estimate else [])]),
    )


def fragment(by: By, rows: Sequence[CostRow], total: CostRow, notes: Sequence[str]) -> str:
    """Returns rows and notes as a table and paragraphs, to embed in another page."""
    headings, body, foot = _table(by, rows, total, None)
    cells = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return (
        f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody><tfoot><tr>{foot}</tr></tfoot></table>"
        f"{_paragraphs(notes)}"
    )


def _paragraphs(notes: Sequence[str]) -> str:
    return "".join(f"<p>{escape(note)}</p>" for note in notes)


def _table(
    by: By, rows: Sequence[CostRow], total: CostRow, estimate: Estimate | None
) -> tuple[list[str], list[str], str]:
    """Returns the headings, the cells of each row, and the cells of the total."""
    has_backward = any(total.backward)
    counts = ["mult-adds", *(["backward"] if has_backward else []), "FLOPs"]
    times = ["min µs", "bound by"] if estimate else []
    if estimate and estimate.total.measured is not None:
        times += ["measured µs", "share"]
    largest = max((row.macs for row in rows), default=0)
    bounds = {bound.name: bound for bound in (*estimate.rows, estimate.total)} if estimate else {}
    is_measured = estimate is not None and estimate.total.measured is not None
    body = [_cells(row, largest, bounds.get(row.name), has_backward, is_measured) for row in rows]
    foot = _cells(total, 0, bounds.get("total"), has_backward, is_measured)
    return [by, "kind", *counts, *_COLUMNS, *times], body, foot


def _cells(row: CostRow, largest: int, bound: Bound | None, has_backward: bool, is_measured: bool) -> str:
    mark = "≥ " if row.is_lower_bound else ""
    counts = [row.macs, *([row.backward.macs] if has_backward else []), row.flops]
    sizes = (row.parameters, row.bytes_in, row.bytes_out, row.traffic)
    cells = [f"<td>{escape(row.name or '(no layer)')}</td><td>{row.kind}</td>"]
    shown = [mark + short_number(count) for count in counts]
    if largest and row.macs:
        shown[0] += f'<span class="bar" style="width:{100 * row.macs / largest:.1f}%"></span>'
    cells += [_cell(count, text) for count, text in zip(counts, shown, strict=True)]
    cells += [_cell(size, short_number(size)) for size in sizes]
    cells.append(_cell(row.intensity, f"{row.intensity:.1f}"))
    if bound is not None:
        cells.append(_cell(bound.seconds, microseconds(bound.seconds)) + f"<td>{bound.limit}</td>")
        if is_measured:
            measured = bound.measured
            cells.append(_cell(measured or 0, "" if measured is None else microseconds(measured)))
            cells.append(_cell(bound.share or 0, escape(share(bound))))
    return "".join(cells)


def _cell(value: int | float, shown: str) -> str:
    return f'<td data-value="{value}">{shown}</td>'
