"""Another memory allocator, preloaded for a whole process.

The C library returns large blocks to the system as soon as they are freed, and the next call gets them again, page by
page. tcmalloc keeps them; by default, jemalloc 5.3 keeps those of at most 8 MiB.
"""

import ctypes.util
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness.contenders import BenchmarkError

NAMES = ("tcmalloc_minimal", "tcmalloc", "jemalloc")
FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/opt/conda/lib")
NOT_FOUND = (
    "no other allocator was found, so everything is measured with the system's only; "
    "run `apt-get install libtcmalloc-minimal4`, or pass `--allocator PATH`"
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
      BenchmarkError: the path is not a file, or this system cannot preload.
    """
    if asked == "none":
        return None
    if sys.platform != "linux":
        if asked == "auto":
            return None
        raise BenchmarkError(f"an allocator can be preloaded on Linux only, not on {sys.platform}")
    if asked != "auto":
        if not Path(asked).is_file():
            raise BenchmarkError(f"`--allocator` must be auto, none or the path of a shared library, got {asked!r}")
        return Allocator(Path(asked).absolute())
    return next(filter(None, map(search, NAMES)), None)


def search(name: str) -> Allocator | None:
    """Finds the path of a library; `find_library` returns only its file name."""
    soname = ctypes.util.find_library(name)
    for folder in FOLDERS:
        for path in sorted(Path("/").glob(f"{folder[1:]}/{soname or f'lib{name}.so*'}")):
            return Allocator(path)
    return None
