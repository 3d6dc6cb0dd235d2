"""The rows of an analysis as a table in the terminal."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from jds.cost._bounds import Estimate, microseconds
from jds.cost._columns import NO_LAYER, Column, Line

# A name may be folded to this width before columns are left out.
_NARROWEST_NAME = 20


def table(
    columns: Sequence[Column], rows: Sequence[Line], total: Line, estimate: Estimate | None, width: int | None
) -> Table:
    """Returns rows and their total as a table, for Rich to print.

    Args:
      columns: the columns that there are.
      rows, total: the rows.
      estimate: times on a device, to show measured times that belong to no row.
      width: number of columns of the terminal; table columns that do not fit are left out. None for all.
    """
    cells = [[column.text(line) for line in (*rows, total)] for column in columns]
    shown = _fitting(columns, cells, width)
    lines = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for i in shown:
        justify = "right" if columns[i].is_number else "left"
        lines.add_column(columns[i].heading, justify=justify, overflow="fold", no_wrap=i > 0)
    for number in range(len(rows)):
        lines.add_row(*(cells[i][number] for i in shown))
    for bound in estimate.other_rows if estimate else ():
        texts = {"measured": microseconds(bound.measured or 0.0), columns[0].heading: bound.name or NO_LAYER}
        lines.add_row(*(texts.get(columns[i].heading, "") for i in shown))
    lines.add_section()
    lines.add_row(*(cells[i][-1] for i in shown))
    return lines


def _fitting(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """Returns the indices of the columns that fit into a width, in order."""
    widths = [max(map(len, (column.heading, *texts))) + 1 for column, texts in zip(columns, cells, strict=True)]
    if width is None:
        return list(range(len(columns)))
    shown, left = [0], width - min(widths[0], _NARROWEST_NAME)
    for i in sorted(range(1, len(columns)), key=lambda i: columns[i].priority):
        # Columns that are read together stand or fall together only by their priority: a later one may still fit.
        if widths[i] <= left:
            shown.append(i)
            left -= widths[i]
    return sorted(shown)
