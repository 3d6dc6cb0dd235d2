"""The contenders, as named, frozen data, and the choice of those that can run on this machine."""

import dataclasses
import importlib.metadata
import importlib.util
import shutil
from collections.abc import Sequence
from typing import Any


class BenchmarkError(Exception):
    """An error that is reported to the user of a benchmark without a traceback."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to compute what a benchmark measures.

    Attributes:
      name: used on the command line and in the record.
      label: used in tables and pictures.
      target: the function that `benchmarks.harness.worker` calls, as `"module:function"`.
      options: passed to the function in addition to the case's spec.
      needs: packages that must be installed in addition to jds's own dependencies.
      tools: programs, at least one of which must be found.
      environment: variables to set for its process.
      tolerance: takes the place of the case's tolerance where this contender rounds more, for each kind of output.
    """

    name: str
    label: str
    target: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    needs: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    tolerance: dict[str, float] = dataclasses.field(default_factory=dict)


def choose(table: Sequence[Contender], names: Sequence[str]) -> tuple[tuple[Contender, ...], list[str]]:
    """Selects contenders.

    Args:
      table: all contenders.
      names: names of the wanted contenders; empty for all.

    Returns:
      The contenders that can run here, and a note on each wanted one that cannot.

    Raises:
      BenchmarkError: a name is unknown, or no contender is left.
    """
    known = [contender.name for contender in table]
    for name in names:
        if name not in known:
            raise BenchmarkError(f"unknown contender {name!r}; there are {', '.join(known)}")
    wanted = [contender for contender in table if not names or contender.name in names]
    able = tuple(contender for contender in wanted if missing(contender) is None)
    notes = [f"{c.label} is left out: {reason}" for c in wanted if (reason := missing(c))]
    if not able:
        raise BenchmarkError("no contender is left\n" + "\n".join(notes))
    return able, notes


def missing(contender: Contender) -> str | None:
    """Says what a contender lacks and how to install it; None if it lacks nothing."""
    packages = [name for name in contender.needs if importlib.util.find_spec(name) is None]
    if packages:
        return f'{" and ".join(packages)} not installed; run `pip install -e ".[peers]"`'
    if contender.tools and not any(map(shutil.which, contender.tools)):
        return f"none of {', '.join(contender.tools)} found; install a C++ compiler"
    return None


def versions(contenders: Sequence[Contender]) -> dict[str, str]:
    """Versions of the packages that the contenders need."""
    packages = dict.fromkeys(name for contender in contenders for name in contender.needs)
    return {name: importlib.metadata.version(name) for name in packages}
