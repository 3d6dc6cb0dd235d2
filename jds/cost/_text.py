"""The rows of an analysis as a table in the terminal."""

from collections.abc import Sequence

from rich.table import Table

from jds.cost._bounds import Estimate, microseconds
from jds.cost._columns import NO_LAYER, Column, Line
from jds.cost._grid import Heading, grid


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
    headings = [Heading(column.heading, column.priority, column.is_number) for column in columns]
    cells = [[column.text(line) for column in columns] for line in (*rows, total)]
    for bound in estimate.other_rows if estimate else ():
        texts = {"measured": microseconds(bound.measured or 0.0), columns[0].heading: bound.name or NO_LAYER}
        cells.insert(-1, [texts.get(column.heading, "") for column in columns])
    return grid(headings, cells[:-1], cells[-1:], width=width)
