"""Tables and paragraphs as plain text."""

import io
import math
import re
from collections.abc import Iterator

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


def folded(text: str, width: int | None) -> str:
    """Folds text after spaces, slashes and the dots of names; longer words where it must; keeps the indentation.

    Example:
      >>> from jds._common.text import folded
      >>> folded("stages/0/pointwise", 9)
      'stages/0/\\npointwise'
      >>> folded("1.5 jds_depthwise", 14), folded("jds_depthwise", 9)
      ('1.5\\njds_depthwise', 'jds_\\ndepthwise')
    """
    if width is None or len(text) <= width:
        return text
    words = text.lstrip(" ")
    indentation = text[: min(len(text) - len(words), width - 1)]
    room = width - len(indentation)
    found = [""]
    for part in _parts(words, room):
        if len((found[-1] + part).rstrip()) > room and found[-1]:
            found.append("")
        found[-1] += part
        while len(found[-1].rstrip()) > room:
            found[-1:] = [found[-1][:room], found[-1][room:]]
    return "\n".join(f"{indentation}{line.rstrip()}" for line in found)


# After a space or a slash, or between a dot and a letter: not in a number.
_FOLD = re.compile(r"(?<=[/ ])|(?<=\.)(?=[^\W\d])")


def _parts(text: str, room: int) -> Iterator[str]:
    """Yields what a line should not break; if this is longer than the room for it, it may break at underscores."""
    for part in _FOLD.split(text):
        yield from re.split(r"(?<=_)", part) if len(part.rstrip()) > room else [part]


def short_number(count: int) -> str:
    """Formats a count: in full below 100,000, otherwise to four digits with a unit.

    Example:
      >>> from jds._common.text import short_number
      >>> short_number(2160), short_number(568_740_352)
      ('2160', '568.7M')
    """
    if count < 100_000:
        return str(count)
    value, units = count / 1000, "kMGTPEZYRQ"
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


def plain_number(value: Number, digits: int = 3) -> str:
    """Formats a number to some digits, without an exponent and without zeros at its end; integers are complete.

    Example:
      >>> from jds._common.text import plain_number
      >>> [plain_number(value) for value in (12345.6, 1000, 2.5, 0.00012345)]
      ['12,346', '1000', '2.5', '0.000123']
    """
    if not value:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{value:{',' if abs(value) >= 10_000 else ''}.{max(0, places)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount(value: Number) -> str:
    """Formats a number to three digits or, from 100,000 on, like a count.

    Example:
      >>> from jds._common.text import amount
      >>> amount(12.345), amount(1.5e12)
      ('12.3', '1.50T')
    """
    return plain_number(value) if value < 100_000 else short_number(round(value))


def duration(seconds: float) -> str:
    """Formats a time to three digits, with the unit that suits it.

    Example:
      >>> from jds._common.text import duration
      >>> [duration(seconds) for seconds in (1.0, 0.0312, 4.5e-6, 2e-12, 0.0)]
      ['1 s', '31.2 ms', '4.5 µs', '0.002 ns', '0 s']
    """
    # As shown, 999.9 ms would be 1,000 ms.
    factor, unit = next(((f, u) for f, u in _UNITS_OF_TIME if seconds * f >= 0.9995), _UNITS_OF_TIME[-1])
    return f"{amount(factor * seconds)} {unit if seconds else 's'}"


_UNITS_OF_TIME = ((1, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns"))


def counted(count: int, one: str, many: str = "") -> str:
    """Returns a count with its noun.

    Example:
      >>> from jds._common.text import counted
      >>> counted(1, "operation"), counted(568_740_352, "operation")
      ('1 operation', '568.7M operations')
    """
    return f"{short_number(count)} {one if count == 1 else many or f'{one}s'}"
