"""The rows of an analysis as a table in the terminal."""

import re
from collections.abc import Sequence

from rich.table import Table

from jds._common.text import plain_table
from jds.cost._bounds import Estimate, microseconds
from jds.cost._columns import NO_LAYER, Column, Line

# A name may be folded to this width, or to this share of the terminal's, before columns are left out.
_NARROWEST_NAME, _SHARE_OF_NAME = 16, 0.3


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
    # Two spaces stand between columns.
    widths = [max(map(len, (column.heading, *texts))) + 2 for column, texts in zip(columns, cells, strict=True)]
    shown = _fitting(columns, widths, width)
    room = None if width is None else max(_NARROWEST_NAME, width - sum(widths[i] for i in shown if i))
    lines = plain_table(pad_edge=False)
    for i in shown:
        lines.add_column(columns[i].heading, justify="right" if columns[i].is_number else "left", no_wrap=True)
    for number in range(len(rows)):
        lines.add_row(_folded(cells[0][number], room), *(cells[i][number] for i in shown if i))
    for bound in estimate.other_rows if estimate else ():
        texts = {"measured": microseconds(bound.measured or 0.0), columns[0].heading: bound.name or NO_LAYER}
        lines.add_row(*(texts.get(columns[i].heading, "") for i in shown))
    lines.add_section()
    lines.add_row(*(cells[i][-1] for i in shown))
    return lines


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int | None) -> list[int]:
    """Returns the indices of the columns that fit into a width, in order."""
    if width is None:
        return list(range(len(columns)))
    shown, left = [0], width - min(widths[0], max(_NARROWEST_NAME, round(_SHARE_OF_NAME * width)))
    for i in sorted(range(1, len(columns)), key=lambda i: columns[i].priority):
        if widths[i] <= left:
            shown.append(i)
            left -= widths[i]
    return sorted(shown)


def _folded(path: str, width: int | None) -> str:
    """Folds a path at its slashes, and a longer name where it must be."""
    if width is None or len(path) <= width:
        return path
    found = [""]
    for part in re.split("(?<=/)", path):
        if len(found[-1] + part) > width and found[-1]:
            found.append("")
        found[-1] += part
        while len(found[-1]) > width:
            found[-1:] = [found[-1][:width], found[-1][width:]]
    return "\n".join(found)
