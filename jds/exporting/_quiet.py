"""Keeps what compiled libraries write to standard error from the terminal."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

_STANDARD_ERROR = 2


class Written:
    """What was written to standard error."""

    def __init__(self):
        self.text = ""


@contextlib.contextmanager
def quiet() -> Iterator[Written]:
    """Redirects the process's standard error; yields what was written, once the block ends."""
    written = Written()
    with contextlib.ExitStack() as stack:
        try:
            kept = os.dup(_STANDARD_ERROR)
        except OSError:  # there is none
            yield written
            return
        stack.callback(os.close, kept)
        file: BinaryIO = stack.enter_context(tempfile.TemporaryFile())
        os.dup2(file.fileno(), _STANDARD_ERROR)
        try:
            yield written
        finally:
            os.dup2(kept, _STANDARD_ERROR)
            file.seek(0)
            written.text = file.read().decode(errors="replace")
