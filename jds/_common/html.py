"""Tables and paragraphs as HTML, for notebooks."""

from collections.abc import Iterator
from html import escape

from rich.console import Group, RenderableType
from rich.protocol import rich_cast
from rich.table import Table


def as_html(*content: RenderableType) -> str:
    """Renders tables and paragraphs as HTML, without styles.

    Args:
      content: tables, text, groups of these, or objects with `__rich__`.

    Returns:
      A fragment, in which all text is escaped.

    Example:
      >>> from jds._common.html import as_html
      >>> as_html("1 < 2", "")
      '<p>1 &lt; 2</p>'
    """
    return "".join(piece for each in content for piece in _pieces(each))


def _pieces(content: RenderableType) -> Iterator[str]:
    if isinstance(content, Table):
        yield _table(content)
    elif isinstance(content, Group):
        for each in content.renderables:
            yield from _pieces(each)
    elif isinstance(content, str):
        if content:
            yield f"<p>{escape(content)}</p>"
    else:
        yield from _pieces(rich_cast(content))


def _table(table: Table) -> str:
    caption = f"<caption>{escape(str(table.title))}</caption>" if table.title else ""
    aligned = [f' style="text-align: {column.justify}"' for column in table.columns]
    head = "".join(
        f"<th{style}>{escape(str(column.header))}</th>" for column, style in zip(table.columns, aligned, strict=True)
    )
    lines = zip(*(column.cells for column in table.columns), strict=True)
    body = "".join(
        f"<tr>{''.join(f'<td{style}>{escape(str(cell))}</td>' for cell, style in zip(line, aligned, strict=True))}</tr>"
        for line in lines
    )
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
