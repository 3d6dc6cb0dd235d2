"""The command line of a benchmark."""

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from benchmarks.harness.contenders import BenchmarkError

T = TypeVar("T")


def command(main: Callable[[T], None], settings: type[T]) -> None:
    """Runs a benchmark; what the user has to know ends it without a traceback."""
    try:
        main(tyro.cli(settings))
    except BenchmarkError as error:
        sys.exit(f"error: {error}")
