"""Shared by the subcommands: declares and checks options, and writes files."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

from jds._common.files import check_writable, write_atomically

# The endings of the files of some options.
_ENDINGS = {"plot": (".png", ".svg", ".pdf"), "trace": (".json", ".json.gz")}


class UsageError(Exception):
    """The command line is invalid; the message says how to fix it."""


def option(metavar: str, help: str):
    """Declares an option with a placeholder in the help text."""
    # Without an explicit metavar, an optional string would be shown as `{None}|STR`, followed by its default None.
    return tyro.conf.arg(metavar=metavar, help=help, help_behavior_hint="")


def check_positive(options: Any, *names: str) -> None:
    """Raises UsageError unless these options are absent or positive and finite."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"`{flag(name)}` must be positive, got {value}")


def check_absent(options: Any, names: Sequence[str], reason: str) -> None:
    """Raises UsageError, with the reason, if one of these options was given."""
    for name in names:
        if getattr(options, name) is not None:
            raise UsageError(f"`{flag(name)}` {reason}")


def check_output(name: str, path: Path | None) -> None:
    """Raises UsageError, before any work is done, if the output file could not be written."""
    if path is None:
        return
    endings = _ENDINGS.get(name, ("",))
    if not path.name.endswith(endings):
        raise UsageError(f"`{flag(name)}` must end in {', '.join(endings)}, got '{path}'")
    if path.is_dir():
        raise UsageError(f"`{flag(name)}` must name a file, got the directory '{path}'")
    if path.exists() and not path.is_file():
        raise UsageError(f"`{flag(name)}` must name a regular file, got the device or pipe '{path}'")
    try:
        check_writable(path)
    except OSError as error:
        raise UsageError(_cannot_write(name, path, error)) from None


def check_different(options: Any, names: Sequence[str], inputs: Sequence[str | None]) -> None:
    """Raises UsageError if two options write the same file, or one writes an input."""
    known: dict[Path, str] = {Path(path).absolute(): f"the input {path}" for path in inputs if path is not None}
    for name in names:
        path = getattr(options, name)
        if path is not None:
            other = known.setdefault(path.absolute(), f"`{flag(name)}`")
            if other != f"`{flag(name)}`":
                raise UsageError(f"`{flag(name)}` must be another file than {other}, got '{path}'")


def write(name: str, path: Path, writer: Callable[[Path], object]) -> None:
    """Writes the file of an option atomically."""
    try:
        write_atomically(path, writer)
    except OSError as error:
        raise UsageError(_cannot_write(name, path, error)) from None


def write_text(name: str, path: Path, text: str) -> None:
    """Writes text to the file of an option."""
    write(name, path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _cannot_write(name: str, path: Path, error: OSError) -> str:
    return f"`{flag(name)}` must be a writable file, got '{path}': {error.strerror}"


def flag(name: str) -> str:
    """Returns an option as typed on the command line."""
    return f"--{name.replace('_', '-')}"
