"""coremltools and stablehlo-coreml, whose warnings and progress bars do not reach the terminal."""

import contextlib
import functools
import importlib.util
import io
import logging
import platform
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from jds.exporting._formats import require

_NEWEST_PYTHON = 3, 13


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Discards what is printed, logged and warned of; errors are raised as ever."""
    logger = logging.getLogger("coremltools")
    before, logger.disabled = logger.disabled, True
    try:
        discarded = io.StringIO()
        with (
            contextlib.redirect_stdout(discarded),
            contextlib.redirect_stderr(discarded),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _check_system() -> None:
    """Raises an ImportError if the package does not exist here, which the usual message would ask to install."""
    system = platform.system(), platform.machine()
    has_wheel = system == ("Linux", "x86_64") or system[0] == "Darwin"
    if importlib.util.find_spec("coremltools") or (has_wheel and sys.version_info[:2] <= _NEWEST_PYTHON):
        return
    newest = ".".join(map(str, _NEWEST_PYTHON))
    raise ImportError(
        f"export: `coremltools` exists for Linux on x86-64 and for macOS, up to Python {newest}, not for "
        f"{' on '.join(system)} with Python {platform.python_version()}; export there"
    )


class Packages(NamedTuple):
    """What is used of the two packages: `mil` writes operations, `converter` is the class that translates StableHLO."""

    coremltools: Any
    stablehlo_coreml: Any
    mil: Any
    converter: Any


@functools.cache
def packages() -> Packages:
    """Imports the packages.

    Raises:
      ImportError: they are not installed, or do not exist for this system.
    """
    _check_system()
    names = ("coremltools", "stablehlo_coreml", "coremltools.converters.mil", "stablehlo_coreml.converter")
    with silent():
        coremltools, stablehlo_coreml, mil, converter = (require(name, "coreml", "Core ML") for name in names)
    return Packages(coremltools, stablehlo_coreml, mil.Builder, converter.StableHloConverter)
