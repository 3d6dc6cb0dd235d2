"""Output of the subcommands: never cropped, whatever the terminal's width, and with clean handling of write errors."""

import codecs
import contextlib
import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator

from rich.console import Console, ConsoleRenderable, Group, RenderableType
from rich.measure import Measurement
from rich.protocol import rich_cast
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from jds._common.text import folded

# Characters that a terminal without Unicode cannot show.
_PLAIN = {
    "×": "x", "·": "*", "±": "+-", "µ": "u", "²": "^2", "³": "^3", "→": "->", "≥": ">=", "≤": "<=", "…": "...",
    "─": "-", "━": "-", "│": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
}  # fmt: skip


# Spaces at the end of a line, around the codes that end a style; in a narrow terminal, they would wrap to empty lines.
_PADDING = re.compile(r" +((?:\x1b\[[0-9;]*m)*) *$")


class _Console(Console):
    @property
    def encoding(self) -> str:
        # Without Unicode, Rich would draw different tables; instead, `use_plain_signs` replaces the characters.
        return "utf-8"


class OutputError(Exception):
    """Standard output cannot be written.

    Attributes:
      status: exit status of the process.
    """

    def __init__(self, error: OSError):
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_closed = isinstance(error, BrokenPipeError)
        # The status that a shell reports for a program ended by SIGPIPE.
        self.status = 141 if self.is_closed else 1


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Converts errors of standard output to `OutputError`, and flushes it to make them occur now."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        raise OutputError(error) from None


def show(*parts: RenderableType) -> None:
    """Prints paragraphs, folded at words and slashes, and tables at the width that they have.

    A table that is wider than the terminal overflows rather than being cropped, which would change its numbers.

    Args:
      *parts: strings, styled text, tables, and objects that make these for the terminal's width; each starts on a new
        line.

    Raises:
      OutputError: standard output cannot be written.
    """
    console = _Console(highlight=False, markup=False, emoji=False)
    with writing():  # Rich also flushes
        text = "".join(_printed(console, part) for part in parts)
        if sys.stdout is not None:
            sys.stdout.write(text)


@contextlib.contextmanager
def wide_help() -> Iterator[None]:
    """Makes Tyro print for at least 80 columns, because it breaks words in narrower terminals."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(max(80, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def use_plain_signs() -> None:
    """Makes standard output and error replace characters that their encoding lacks with similar ones."""
    codecs.register_error("jds", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape", "backslashreplace"):
            stream.reconfigure(errors="jds")


def drop_output() -> None:
    """Discards further standard output, so that Python's final flush succeeds."""
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or ascii(sign)[1:-1] for sign in signs), error.end


def _printed(console: Console, part: RenderableType) -> str:
    part = rich_cast(part)
    if isinstance(part, Group):
        return "".join(_printed(console, each) for each in part.renderables)
    if not isinstance(part, str | Text | Table) and isinstance(part, ConsoleRenderable):
        inner = [each for each in part.__rich_console__(console, console.options) if not isinstance(each, Segment)]
        if inner:  # paragraphs and tables, made for the terminal's width
            return "".join(_printed(console, each) for each in inner)
    if isinstance(part, str):
        return _wrapped(part, console.width or 80) + "\n"
    if isinstance(part, Text):
        part = Text(_wrapped(part.plain, console.width or 80), style=part.style)
    unlimited = console.options.update(max_width=100_000)
    needed = Measurement.get(console, unlimited, part).maximum
    wide = _Console(highlight=False, markup=False, emoji=False, width=max(needed, console.width))
    with wide.capture() as captured:
        wide.print(part)
    return "".join(_PADDING.sub(r"\1", line) + "\n" for line in captured.get().splitlines())


def _wrapped(text: str, width: int) -> str:
    lines = text.splitlines() or [""]
    filled = "\n".join(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in lines)
    return "\n".join(folded(line, width) for line in filled.split("\n"))
