"""The compiled library of CPU kernels: whether it is there, and loading it."""

import contextlib
import ctypes
import functools
import logging
import os
from pathlib import Path

import jax

from jds.ops.native import _seal

# Set to 0, this environment variable switches the kernels off.
SWITCH = "JDS_NATIVE"

# In a folder of its own, which is no package: Python would take it for a module.
_PATH = Path(__file__).parent / "lib" / "libjds.so"
# As in `ffi.cc`.
_TARGETS = (
    "jds_depthwise",
    "jds_kernel_gradient",
    "jds_grouped_gradient",
    "jds_matrix_product",
    "jds_matrix_gradient",
    "jds_separable",
    "jds_ordinary",
)

_logger = logging.getLogger(__name__)


@functools.cache
def fault() -> str | None:
    """Says in words why the kernels cannot be used in this process; None if they can."""
    if os.environ.get(SWITCH) == "0":
        return f"the CPU kernels are switched off by {SWITCH}=0"
    found = _fault()
    if found:
        _logger.warning("jds runs more slowly: %s", found)
    return found


@functools.cache
def load() -> ctypes.CDLL:
    """Loads the library and registers its kernels with XLA.

    Raises:
      OSError: it cannot be loaded.
    """
    _seal.check(_PATH, _PATH.parents[1] / "src")  # to load half a library would kill the process
    library = ctypes.CDLL(str(_PATH))
    library.jds_instruction_sets.restype = ctypes.c_char_p
    for target in _TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    return library


def instruction_sets() -> tuple[str, ...]:
    """Returns the instruction sets that the library has and this machine can run, the best first."""
    return tuple(load().jds_instruction_sets().decode().split())


def use_instruction_set(name: str) -> None:
    """Makes the kernels run by one of `instruction_sets()`, in programs compiled before too; for tests."""
    if not load().jds_use_instruction_set(name.encode()):
        raise ValueError(f"use_instruction_set: this machine has {', '.join(instruction_sets())}, not {name!r}")


def _fault() -> str | None:
    if not _PATH.exists():
        return (
            "the CPU kernels were not built, for want of a C++ compiler; install one (g++ or clang++), then jds again"
        )
    try:
        load()
    except Exception as error:  # whatever a foreign library or XLA's registry raises
        return f"the library of CPU kernels cannot be loaded ({error})"
    return None


# A program that was compiled in another process calls the kernels though nothing is traced here. What is wrong with
# the library is said at its first use.
if os.environ.get(SWITCH) != "0":
    with contextlib.suppress(Exception):
        load()
