"""The process of the `jds` command: how it is interrupted, and how it warns."""

import contextlib
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
    """Has Ctrl-C end the process at once, with one line and status 130.

    Python's own way is an exception in the main thread, which is lost in a JAX callback and waits while XLA
    compiles. Here a separate thread hears of the signal.
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
    """Follows the library's warnings by an empty line, as everything that is printed."""
    handler = logging.StreamHandler()
    handler.terminator = "\n\n"
    logging.getLogger("jds").addHandler(handler)


def _end_when_interrupted(heard: socket.socket) -> None:
    with heard:
        while number := heard.recv(1):
            if number[0] == signal.SIGINT:
                break
        else:
            return
    remove_unfinished()
    # A progress bar hides the cursor. Written past Python's buffers, which the main thread may hold.
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    with contextlib.suppress(OSError):
        os.write(2, f"{_SHOW_CURSOR}\n".encode() * is_terminal + b"jds: interrupted\n")
    os._exit(130)
