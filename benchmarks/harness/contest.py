"""Runs the contenders, each in a separate process, interleaved in rounds."""

import contextlib
import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.allocator import Allocator
from benchmarks.harness.contenders import BenchmarkError, Contender
from jds import cost

# Duration of a sample: long enough to make the cost of reading the clock negligible.
SAMPLE_SECONDS = 0.005
# The measurement counts as disturbed if others use more cores than this during a turn.
MAX_CORES = 0.1


class Case(NamedTuple):
    """A task for the contenders.

    Attributes:
      name: used in messages and tables.
      spec: passed to the contenders and kept in the record.
      contenders: those that take part; the outputs of the others are compared with those of the first one.
      tolerance: greatest allowed norm of the difference of two outputs, relative to their norm, for each kind of output
        (the first word of its name).
      compiles: number of compilations, which are interleaved as well.
    """

    name: str
    spec: dict[str, Any]
    contenders: tuple[Contender, ...]
    tolerance: Mapping[str, float] = {"out": 1e-4}
    compiles: int = 1


@dataclasses.dataclass(frozen=True)
class Measured:
    """The answers of one contender.

    Attributes:
      held: MiB held after its import, and after preparing its case.
      compiled: one answer per compilation.
      turns: one answer per round.
    """

    held: dict[str, float]
    compiled: list[dict[str, Any]]
    turns: list[dict[str, Any]]

    @property
    def medians(self) -> list[float]:
        """The median of each round, in seconds per call."""
        return [statistics.median(turn["samples"]) for turn in self.turns]

    @property
    def seconds(self) -> cost.Spread:
        return cost.spread(self.medians)

    @property
    def compile_seconds(self) -> list[float]:
        return [answer["seconds"] for answer in self.compiled]

    @property
    def memory(self) -> dict[str, float]:
        """MiB held after import and preparation, and the peaks while compiling and while running."""
        peaks = (max(answer["peak_mib"] for answer in answers) for answers in (self.compiled, self.turns))
        return self.held | dict(zip(("compiling", "running"), peaks, strict=True))

    def middle(self, key: str) -> float:
        return statistics.median(turn[key] for turn in self.turns)


@dataclasses.dataclass(frozen=True)
class Result:
    """A case, what was measured, how far the outputs differ, and the allocator's name if one was preloaded."""

    case: Case
    measured: dict[str, Measured]
    differences: dict[str, dict[str, float]]
    allocator: str | None = None

    def ratio(self, name: str, other: str) -> cost.Spread | None:
        """Ratio of one contender's time to another's, round by round; None if one of them is missing."""
        if not {name, other} <= self.measured.keys():
            return None
        return cost.spread(cost.ratios(self.measured[name].medians, self.measured[other].medians))

    def compile_ratio(self, name: str, other: str) -> float | None:
        """Median ratio of their compile times; None if one of them is missing."""
        if not {name, other} <= self.measured.keys():
            return None
        pairs = (self.measured[who].compile_seconds for who in (name, other))
        return statistics.median(cost.ratios(*pairs))

    @property
    def first(self) -> str:
        """The contender that the others are compared with."""
        return self.case.contenders[0].name

    def label(self, name: str) -> str:
        return next(contender.label for contender in self.case.contenders if contender.name == name)

    def notes(self) -> list[str]:
        """What disturbed the measurement."""
        turns = {name: measured.turns for name, measured in self.measured.items()}
        where = f"disturbed: {self.case.name}, {self.allocator}" if self.allocator else f"disturbed: {self.case.name}"
        notes = [
            f"{where}: {self.label(name)} kept {cores:.2f} cores busy outside its turn"
            for name, answers in turns.items()
            if (cores := statistics.median(answer["idle_cores"] for answer in answers)) > MAX_CORES
        ]
        others = [answer["other_cores"] for answers in turns.values() for answer in answers]
        if None not in others and (cores := statistics.mean(others)) > MAX_CORES:
            notes.append(f"{where}: other processes kept {cores:.2f} cores busy")
        return notes


class Process:
    """A worker process, and the pipe through which it answers."""

    def __init__(self, contender: Contender, folder: Path, allocator: Allocator | None):
        self.contender = contender
        self.folder = folder
        folder.mkdir()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),  # nothing compiled in another run is reused
            **contender.environment,
        }
        if allocator:
            environment["LD_PRELOAD"] = str(allocator.path)
        self.log = (folder / "stderr").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.harness.worker", contender.target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            text=True,
        )
        try:
            self.imported = self.ask("hello")
            if allocator and allocator.path.resolve().name not in self.imported["libraries"]:
                raise BenchmarkError(f"{contender.label}: {allocator.path} is not preloaded\n{self.tail()}")
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, **message: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
          BenchmarkError: the contender raised, or its process ended; includes the end of its standard error.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"do": do, **message}) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            raise BenchmarkError(f"{self.contender.label}: the process ended with status {status}\n{self.tail()}")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(f"{self.contender.label}: {answer['error']}\n{self.tail()}")
        return answer

    def tail(self) -> str:
        """The last lines of the standard error."""
        lines = (self.folder / "stderr").read_text(errors="replace").splitlines()
        return "\n".join(f"  {self.contender.name}: {line}" for line in lines[-20:])

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()  # ends the worker's loop
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


@contextlib.contextmanager
def processes(allocator: Allocator | None = None) -> Iterator[Callable[[Contender], Process]]:
    """Starts each contender's process on first use, and ends all of them on exit."""
    running: dict[str, Process] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, contextlib.ExitStack() as stack:

        def process(contender: Contender) -> Process:
            if contender.name not in running:
                running[contender.name] = Process(contender, Path(folder) / contender.name, allocator)
                stack.callback(running[contender.name].close)
            return running[contender.name]

        yield process


def run_case(
    case: Case,
    process: Callable[[Contender], Process],
    *,
    rounds: int,
    seconds: float,
    seed: int = 0,
) -> Result:
    """Measures one case: prepares, compiles, compares the outputs, and only then times.

    Args:
      case: what to do.
      process: returns a contender's process.
      rounds: number of rounds to keep; an additional first one warms up.
      seconds: duration of a turn.
      seed: determines the order of the turns.

    Returns:
      The measurements.

    Raises:
      BenchmarkError: a contender failed, or the outputs differ.
    """
    workers = {contender.name: process(contender) for contender in case.contenders}
    prepared = {
        name: worker.ask("prepare", spec={**worker.contender.options, **case.spec}) for name, worker in workers.items()
    }
    compiled: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for order in orders(list(workers), case.compiles, seed):
        for name in order:
            compiled[name].append(workers[name].ask("compile"))
    differences = compare(case, workers)
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for order in orders(list(workers), rounds + 1, seed):
        for name in order:
            turns[name].append(workers[name].ask("run", seconds=seconds, sample_seconds=SAMPLE_SECONDS))
            workers[name].ask("rest")
    measured = {
        name: Measured(
            {"imported": worker.imported["imported_mib"], "prepared": prepared[name]["prepared_mib"]},
            compiled[name],
            turns[name][1:],
        )
        for name, worker in workers.items()
    }
    return Result(case, measured, differences)


def orders(names: Sequence[str], rounds: int, seed: int) -> list[list[str]]:
    """The order of the contenders in each round: shuffled for each round, the same in every run."""
    rng = random.Random(seed)
    return [rng.sample(names, len(names)) for _ in range(rounds)]


def compare(case: Case, workers: Mapping[str, Process]) -> dict[str, dict[str, float]]:
    """Compares all outputs with those of the first contender.

    Returns:
      For each other contender and each kind of output, the greatest norm of a difference relative to the output's norm.

    Raises:
      BenchmarkError: they differ by more than the case tolerates, or in their names or shapes.
    """
    outputs = {}
    for name, worker in workers.items():
        path = worker.folder / "outputs.npz"
        worker.ask("check", path=str(path))
        with np.load(path) as arrays:
            outputs[name] = dict(arrays)
        path.unlink()
    first, *others = workers
    found = {}
    for name in others:
        pair = f"{case.name}: the outputs of {workers[first].contender.label} and {workers[name].contender.label}"
        shapes = [{key: array.shape for key, array in outputs[who].items()} for who in (first, name)]
        if shapes[0] != shapes[1]:
            raise BenchmarkError(f"{pair} have different shapes: {shapes[0]} and {shapes[1]}")
        tolerance = {**case.tolerance, **workers[name].contender.tolerance}
        found[name] = dict.fromkeys(tolerance, 0.0)
        for key, array in outputs[first].items():
            kind = key.partition(" ")[0]
            differs = difference(outputs[name][key], array)
            if differs > tolerance[kind]:
                raise BenchmarkError(f"{pair} differ by {differs:.1e} in {key!r}, more than {tolerance[kind]:.1e}")
            found[name][kind] = max(differs, found[name][kind])
    return found


def difference(array: np.ndarray, reference: np.ndarray) -> float:
    """Norm of the difference relative to the reference's norm; infinite if either array is not finite."""
    if not (np.isfinite(array).all() and np.isfinite(reference).all()):
        return float("inf")
    return float(np.linalg.norm(array - reference) / max(np.linalg.norm(reference), 1e-30))
