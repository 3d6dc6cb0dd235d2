"""Another allocator of memory, preloaded for a whole process.

The C library gives large blocks back to the system as soon as they are free, and gets them anew, page by page, in the
next call. tcmalloc keeps them; jemalloc 5.3 keeps all but those of more than 8 MiB, unless it is told otherwise.
"""

import ctypes.util
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness.contenders import BenchmarkError

NAMES = ("tcmalloc_minimal", "tcmalloc", "jemalloc")
FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/opt/conda/lib")
NOT_FOUND = (
    "no other allocator is found, so everything is measured with the system's only: "
    "`apt-get install libtcmalloc-minimal4`, or `--allocator PATH`"
)


class Allocator(NamedTuple):
    """A shared library to preload."""

    path: Path

    @property
    def name(self) -> str:
        """Name and version, as the file has them."""
        return self.path.resolve().name


def find(asked: str = "auto") -> Allocator | None:
    """Finds an allocator.

    Args:
      asked: `"auto"` to search, `"none"` for none, or the path of a shared library.

    Returns:
      The allocator, or None if there is none.

    Raises:
      BenchmarkError: the path is no file, or this system cannot preload.
    """
    if asked == "none":
        return None
    if sys.platform != "linux":
        if asked == "auto":
            return None
        raise BenchmarkError(f"an allocator is preloaded on Linux only, not on {sys.platform}")
    if asked != "auto":
        if not Path(asked).is_file():
            raise BenchmarkError(f"`--allocator` must be auto, none or the path of a shared library, got {asked!r}")
        return Allocator(Path(asked).absolute())
    return next(filter(None, map(search, NAMES)), None)


def search(name: str) -> Allocator | None:
    """Finds a library by its name: the path, because that of the loader is a name only."""
    soname = ctypes.util.find_library(name)
    for folder in FOLDERS:
        for path in sorted(Path("/").glob(f"{folder[1:]}/{soname or f'lib{name}.so*'}")):
            return Allocator(path)
    return None
