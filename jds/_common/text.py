"""Tables and paragraphs as plain text."""

import io

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

Number = int | float


def as_text(content: RenderableType, *, width: int = 120) -> str:
    """Renders a Rich renderable as text, without colors and trailing spaces.

    Args:
      content: a table, text, or an object with `__rich__`.
      width: number of columns to wrap at.

    Returns:
      The lines, without a final line break.

    Example:
      >>> from jds._common.text import as_text
      >>> as_text("a paragraph that is wrapped", width=14)
      'a paragraph\\nthat is\\nwrapped'
    """
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(content)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def plain_table(*, pad_edge: bool = True) -> Table:
    """Returns an empty table in the style of the tables of jds: a line below the headings, and no others.

    Args:
      pad_edge: whether a space follows the last column.

    Example:
      >>> from jds._common.text import as_text, plain_table
      >>> table = plain_table()
      >>> table.add_column("name")
      >>> print(as_text(table))
      name
      ─────
    """
    return Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0), pad_edge=pad_edge)


def short_number(count: int) -> str:
    """Formats a count: in full below 100,000, otherwise to four digits with a unit.

    Example:
      >>> from jds._common.text import short_number
      >>> short_number(2160), short_number(568_740_352)
      ('2160', '568.7M')
    """
    if count < 100_000:
        return str(count)
    value, units = count / 1000, "kMGTPE"
    while value >= 999.95 and len(units) > 1:
        value, units = value / 1000, units[1:]
    unit = units[0]
    return f"{value:.{sum(value < limit for limit in (100, 1000))}f}{unit}"


def in_layer(path: str) -> str:
    """Returns words for the place of an operation, from the path of its layer.

    Example:
      >>> from jds._common.text import in_layer
      >>> in_layer("stem/conv"), in_layer("")
      ('in stem/conv', 'outside of all layers')
    """
    return f"in {path}" if path else "outside of all layers"
