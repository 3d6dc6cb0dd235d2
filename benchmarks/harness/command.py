"""The command line of a benchmark."""

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from benchmarks.harness.contenders import BenchmarkError

T = TypeVar("T")


def command(main: Callable[[T], None], settings: type[T]) -> None:
    """Runs a benchmark; a `BenchmarkError` ends it with its message and without a traceback."""
    try:
        main(tyro.cli(settings))
    except BenchmarkError as error:
        sys.exit(f"error: {error}")
