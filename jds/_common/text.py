"""Tables and paragraphs as plain text."""

import io

from rich.console import Console, RenderableType


def as_text(content: RenderableType, *, width: int = 120) -> str:
    """Renders what Rich can print, without colors and without spaces at the ends of lines.

    Args:
      content: a table, text, or an object with `__rich__`.
      width: columns to wrap at.

    Returns:
      The lines, without a line break at the end.

    Example:
      >>> from jds._common.text import as_text
      >>> as_text("a paragraph that is wrapped", width=14)
      'a paragraph\\nthat is\\nwrapped'
    """
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(content)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
