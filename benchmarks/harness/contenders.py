"""Who takes part: named, frozen data, and what to do about those that are not installed."""

import dataclasses
import importlib.metadata
import importlib.util
import shutil
from collections.abc import Sequence
from typing import Any


class BenchmarkError(Exception):
    """Something that the one who runs a benchmark has to know, said in words."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to compute what a benchmark asks for.

    Attributes:
      name: on the command line and in the record.
      label: in tables and pictures.
      target: the function that `benchmarks.harness.worker` calls, as `"module:function"`.
      options: what the function is told beside the case.
      needs: packages that must be installed beside jds's own.
      tools: programs of which one must be found.
      environment: variables of its process.
    """

    name: str
    label: str
    target: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    needs: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


def choose(table: Sequence[Contender], names: Sequence[str]) -> tuple[tuple[Contender, ...], list[str]]:
    """Selects contenders.

    Args:
      table: those that there are.
      names: those that are wanted; none for all.

    Returns:
      Those that can take part, and a line on each other one.

    Raises:
      BenchmarkError: a name is unknown, or nobody is left.
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
    """Says what a contender lacks and what brings it; None if it lacks nothing."""
    packages = [name for name in contender.needs if importlib.util.find_spec(name) is None]
    if packages:
        return f'{" and ".join(packages)} not installed, `pip install -e ".[peers]"` brings it'
    if contender.tools and not any(map(shutil.which, contender.tools)):
        return f"none of {', '.join(contender.tools)} found, install a C++ compiler"
    return None


def versions(contenders: Sequence[Contender]) -> dict[str, str]:
    """Versions of the packages that the contenders need."""
    packages = dict.fromkeys(name for contender in contenders for name in contender.needs)
    return {name: importlib.metadata.version(name) for name in packages}
