"""coremltools and stablehlo-coreml, whose warnings and progress bars do not reach the terminal."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards what is printed, logged and warned of; errors are raised as ever."""
    logger = logging.getLogger("coremltools")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logger.disabled = before


with quiet():
    import coremltools as coremltools
    import stablehlo_coreml as stablehlo_coreml
    from coremltools.converters.mil import Builder as Builder
    from coremltools.converters.mil.mil import Program as MilProgram  # noqa: F401
    from stablehlo_coreml.converter import StableHloConverter as StableHloConverter
