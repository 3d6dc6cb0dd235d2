"""Tables that fit into the terminal: names are folded, and columns for which there is no room are left out."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.table import Table

from jds._common.text import folded, plain_table

# Names may be folded to this width, or to this share of the terminal's, before columns are left out.
_NARROWEST_NAME, _SHARE_OF_NAME = 16, 0.3
# Between columns.
_GAP = 2
# The priority of columns that are never left out.
ALWAYS = -1


class Heading(NamedTuple):
    """The heading of a column.

    Attributes:
      text: its text.
      priority: where there is no room for all columns, those with the lowest numbers are shown; columns with the same
        number are shown together. `ALWAYS` for one that is never left out, as is the first one.
      is_number: whether the column is aligned on the right.
    """

    text: str
    priority: int = ALWAYS
    is_number: bool = True


def grid(headings: Sequence[Heading], *sections: Sequence[Sequence[str]], width: int | None = None) -> Table:
    """Returns a table for Rich to print.

    Args:
      headings: those of all columns; the first column has names or sentences, which may be folded.
      *sections: sections of rows, with a space between them.
      width: number of columns of the terminal; None for any number.
    """
    rows = [row for section in sections for row in section]
    widths = [max(map(len, (heading.text, *(row[i] for row in rows)))) + _GAP for i, heading in enumerate(headings)]
    shown = _shown(headings, widths, width)
    room = None if width is None else max(1, width - sum(widths[i] for i in shown if i))
    texts = ([heading.text for heading in headings], *rows)
    cells = [[row[i] if i else folded(row[0], room) for i in shown] for row in texts]
    lines = plain_table(pad_edge=False)
    for i, column in zip(shown, zip(*cells, strict=True), strict=True):
        justify = "right" if headings[i].is_number else "left"
        # With a width, Rich need not measure each cell twice, which takes longer than printing them.
        lines.add_column(column[0], justify=justify, no_wrap=True, width=max(map(_width, column)))
    below = iter(cells[1:])
    for number, section in enumerate(sections):
        if number:
            lines.add_section()
        for row in itertools.islice(below, len(section)):
            lines.add_row(*row)
    return lines


def _width(text: str) -> int:
    """Returns the number of columns of the terminal that a text takes, of which characters may take two."""
    return max(map(cell_len, text.splitlines()), default=0)


def _shown(headings: Sequence[Heading], widths: Sequence[int], width: int | None) -> list[int]:
    """Returns the indices of the columns that fit into a width, in order."""
    if width is None:
        return list(range(len(headings)))
    shown = [i for i, heading in enumerate(headings) if not i or heading.priority == ALWAYS]
    name = min(widths[0] - _GAP, max(_NARROWEST_NAME, round(_SHARE_OF_NAME * width)))
    left = width - name - sum(widths[i] for i in shown[1:])
    rest = sorted((i for i in range(len(headings)) if i not in shown), key=lambda i: headings[i].priority)
    for _, group in itertools.groupby(rest, key=lambda i: headings[i].priority):
        together = list(group)
        needed = sum(widths[i] for i in together)
        if needed <= left:
            shown += together
            left -= needed
    return sorted(shown)
