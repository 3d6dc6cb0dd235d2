"""The process of the `jds` command: interrupts, warnings and garbage."""

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

from jds._common.files import remove_unfinished

_SHOW_CURSOR = "\x1b[?25h"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Makes Ctrl-C end the process immediately, with one line and status 130.

    By default, Python raises an exception in the main thread, which is lost in a JAX callback and delayed while XLA
    compiles. This function handles the signal in a separate thread instead.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    threading.Thread(target=_end_when_interrupted, args=(heard,), daemon=True).start()
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(before)
        told.close()


def warn_in_paragraphs() -> None:
    """Prints an empty line after each of the library's warnings, as after all other output."""
    handler = logging.StreamHandler()
    handler.terminator = "\n\n"
    logging.getLogger("jds").addHandler(handler)


def keep_imports() -> None:
    """Makes the garbage collector pass over what was imported, which is never garbage.

    Looking through it again and again takes a sixth of the time of `jds cost`.
    """
    gc.freeze()


def _end_when_interrupted(heard: socket.socket) -> None:
    with heard:
        while number := heard.recv(1):
            if number[0] == signal.SIGINT:
                break
        else:
            return
    remove_unfinished()
    # Show the cursor, which a progress bar hides. Bypasses Python's buffers, which the main thread may have locked.
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    with contextlib.suppress(OSError):
        os.write(2, f"{_SHOW_CURSOR}\n".encode() * is_terminal + b"jds: interrupted\n")
    os._exit(130)
