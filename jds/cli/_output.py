"""How the subcommands print: nothing is cropped at any width, and what cannot be printed ends the command cleanly."""

import codecs
import contextlib
import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.protocol import rich_cast
from rich.text import Text

# Signs that a terminal without Unicode cannot show.
_PLAIN = {
    "×": "x", "·": "*", "±": "+-", "µ": "u", "²": "^2", "³": "^3", "→": "->", "≥": ">=", "≤": "<=", "…": "...",
    "─": "-", "━": "-", "│": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
}  # fmt: skip


# At a line's end, before or after the codes that end a style: in a narrow terminal it would be empty lines.
_PADDING = re.compile(r" +((?:\x1b\[[0-9;]*m)*) *$")


class _Console(Console):
    @property
    def encoding(self) -> str:
        # Rich would draw other tables without Unicode. Here `use_plain_signs` replaces all signs alike.
        return "utf-8"


class OutputError(Exception):
    """Standard output cannot be written.

    Attributes:
      status: that the process is to end with.
    """

    def __init__(self, error: OSError):
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_closed = isinstance(error, BrokenPipeError)
        # As a shell has it for a program that SIGPIPE ended.
        self.status = 141 if self.is_closed else 1


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turns errors of standard output into `OutputError`; flushes it, so that they come now."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        raise OutputError(error) from None


def show(*parts: RenderableType) -> None:
    """Prints paragraphs, wrapped between words, and tables, as wide as they are.

    A number or name that is wider than the terminal runs over its edge: cropped, it would be another.

    Args:
      *parts: strings, styled text, tables, and what Rich renders as those; each begins a line.

    Raises:
      OutputError: standard output cannot be written.
    """
    console = _Console(highlight=False, markup=False, emoji=False)
    with writing():  # Rich flushes, too
        text = "".join(_printed(console, part) for part in parts)
        if sys.stdout is not None:
            sys.stdout.write(text)


@contextlib.contextmanager
def wide_help() -> Iterator[None]:
    """Has Tyro print as for 80 columns at least: it breaks words where there are fewer."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(max(80, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def use_plain_signs() -> None:
    """Has standard output and error write what their encoding lacks in signs that it has."""
    codecs.register_error("jds", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape", "backslashreplace"):
            stream.reconfigure(errors="jds")


def drop_output() -> None:
    """Lets nothing more be written to standard output, so that Python's own last flush succeeds."""
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
    return "\n".join(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in lines)
