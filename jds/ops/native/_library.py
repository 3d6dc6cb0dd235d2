"""Finds and loads the compiled library of CPU kernels."""

import contextlib
import ctypes
import functools
import json
import logging
import os
from pathlib import Path

import jax

from jds.ops.native import _constants, _seal

# Setting this environment variable to 0 disables the kernels.
SWITCH = "JDS_NATIVE"

# In a folder that is not a package; otherwise Python would treat the library as a module.
_PATH = Path(__file__).parent / "lib" / "libjds.so"

_logger = logging.getLogger(__name__)


@functools.cache
def fault() -> str | None:
    """Returns the reason why the kernels cannot be used in this process, or None if they can."""
    if os.environ.get(SWITCH) == "0":
        return f"the CPU kernels are disabled by {SWITCH}=0"
    found = _fault()
    if found:
        _logger.warning("falling back to slower kernels: %s", found)
    return found


@functools.cache
def load() -> ctypes.CDLL:
    """Loads the library and registers its kernels with XLA.

    Raises:
      OSError: it cannot be loaded, or its constants differ from Python's.
    """
    _seal.check(_PATH, _PATH.parents[1] / "src")  # loading a truncated library would crash the process
    library = ctypes.CDLL(str(_PATH))
    library.jds_instruction_sets.restype = ctypes.c_char_p
    library.jds_constants.restype = ctypes.c_char_p
    _constants.check(library.jds_constants().decode())
    for target in _constants.TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    return library


@functools.cache
def activations() -> tuple[str, ...]:
    """Returns the names of the library's activations, in the order of their numbers; the first one is `"none"`."""
    return tuple(json.loads(load().jds_constants())["activations"])


def instruction_sets() -> tuple[str, ...]:
    """Returns the instruction sets that both the library and this machine support, best first."""
    return tuple(load().jds_instruction_sets().decode().split())


def use_instruction_set(name: str) -> None:
    """Makes the kernels use one of `instruction_sets()`, even in programs already compiled; for tests."""
    if not load().jds_use_instruction_set(name.encode()):
        raise ValueError(f"use_instruction_set: this machine supports {', '.join(instruction_sets())}, not {name!r}")


def _fault() -> str | None:
    if not _PATH.exists():
        return (
            "the CPU kernels were not built because no C++ compiler was found; install g++ or clang++ and reinstall jds"
        )
    try:
        load()
    except Exception as error:  # a foreign library or XLA's registry may raise anything
        return f"the library of CPU kernels cannot be loaded ({error})"
    return None


# A program compiled in another process calls the kernels although nothing is traced in this one. If the library cannot
# be loaded, its first use reports the reason.
if os.environ.get(SWITCH) != "0":
    with contextlib.suppress(Exception):
        load()
