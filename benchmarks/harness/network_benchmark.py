"""Runs a benchmark of whole networks: each case with the default allocator, and again with another one preloaded."""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.harness import allocator as allocators
from benchmarks.harness import pictures, record, report
from benchmarks.harness.contenders import BenchmarkError, Contender, choose
from benchmarks.harness.contest import Case, Result, processes, run_case
from benchmarks.harness.targets import Target
from jds import cost


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options of the command."""

    rounds: int
    """Number of rounds that count; one more warms up."""
    seconds: float
    """Duration of each turn, in seconds."""
    out: Path
    """The record; the picture is written next to it."""
    contenders: tuple[str, ...] = ()
    """Names of contenders; by default, all that are installed."""
    allocator: str = "auto"
    """Allocator for a second measurement: auto to search for one, none, or the path of a shared library."""
    batches: tuple[int, ...] = ()

    def __post_init__(self):
        # None given is the default of some benchmarks, and measures nothing in the others.
        is_missing = not self.batches and type(self).batches
        if self.rounds < 3 or is_missing or min(self.batches, default=1) < 1 or not self.seconds > 0:
            raise BenchmarkError("there must be at least 3 `rounds`, a batch, and `seconds` above 0")

    @property
    def are_full(self) -> bool:
        """Whether the targets apply: they are set for networks of full size."""
        return True

    def spec(self, batch: int, **more: Any) -> dict[str, Any]:
        return {"batch": batch, "threads": cost.machine_facts()["cores"], **more}


def run(
    name: str,
    settings: Settings,
    table: Sequence[Contender],
    cases: Callable[[Any, tuple[Contender, ...], Path], list[Case]],
    targets: Callable[[Sequence[Result]], list[Target]],
) -> None:
    """Measures, prints the results and writes the record.

    Args:
      name: the name of the benchmark.
      settings: from the command line.
      table: all contenders.
      cases: makes the cases from the settings, the contenders that can run, and a folder for the contenders' files.
      targets: judges the results.
    """
    able, notes = choose(table, settings.contenders)
    other = allocators.find(settings.allocator)
    if other is None and settings.allocator == "auto":
        notes.append(allocators.NOT_FOUND)
    results = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        preloads = dict.fromkeys((None, other))  # only once if there is no other allocator
        todo = [(case, preload) for case in cases(settings, able, Path(folder)) for preload in preloads]
        report.announce([case for case, _ in todo], settings.rounds, settings.seconds, settings.out)
        console = Console(stderr=True)
        for case, preload in track(todo, "measuring", console=console, auto_refresh=False, transient=True):
            with processes(preload) as process:
                result = run_case(case, process, rounds=settings.rounds, seconds=settings.seconds)
            results.append(dataclasses.replace(result, allocator=preload and preload.name))
    judged = targets(results) if settings.are_full else []
    if not judged:
        notes.append("targets are for networks of full size only")
    kept = dataclasses.asdict(settings) | {"allocator": other and other.name}
    del kept["out"]
    content = record.record(name, kept, able, results, judged)
    picture = {settings.out.with_suffix(".png"): pictures.networks(results)}
    tables = [report.network_table(result) for result in results]
    notes += [note for result in results for note in result.notes()]
    report.publish(settings.out, content, picture, tables, judged, notes)
