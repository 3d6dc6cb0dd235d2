"""Runs one contender in a separate process, answering requests line by line.

    python -m benchmarks.harness.worker MODULE:FUNCTION

Each line of the standard input is a JSON object, `{"do": ..., ...}`, and is answered by one. FUNCTION takes a
case's spec as a dictionary, prepares everything that is not timed, and returns a `Program`. This file imports neither
JAX nor jds, so that the memory of a process depends on its contender alone.
"""

import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Seconds to wait for a process to become idle after its turn.
MAX_REST = 1.0
# Seconds of calls before each turn's first sample: with less, two threads may still share a core.
WARM_SECONDS = 0.08


class Program(NamedTuple):
    """A contender's code for one case.

    Attributes:
      compile: does all one-time work, without running it, and returns the call to time, which waits for its result.
        May be called several times, and starts from scratch each time.
      arrays: converts the result of a call into arrays in the layout that all contenders share.
    """

    compile: Callable[[], Callable[[], Any]]
    arrays: Callable[[Any], dict[str, np.ndarray]]


class Usage(NamedTuple):
    """Seconds used so far by this process, and by all processes together on the cores that it may use."""

    wall: float
    cpu: float
    all_cpu: float | None
    page_faults: int

    @classmethod
    def now(cls) -> "Usage":
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        return cls(time.perf_counter(), time.process_time(), busy_seconds(), faults)

    def cores_since(self, start: "Usage") -> float:
        return (self.cpu - start.cpu) / (self.wall - start.wall)

    def others_since(self, start: "Usage") -> float | None:
        """Cores that other processes kept busy; the system counts in hundredths of a second."""
        if self.all_cpu is None or start.all_cpu is None:
            return None
        return (self.all_cpu - start.all_cpu) / (self.wall - start.wall) - self.cores_since(start)


class Worker:
    """Answers the requests; each method handles one kind."""

    def __init__(self, target: str):
        module, _, function = target.partition(":")
        self.function = getattr(importlib.import_module(module), function)
        self.last = Usage.now()

    def hello(self) -> dict[str, Any]:
        return {"imported_mib": resident_mib(), "libraries": mapped_libraries()}

    def prepare(self, spec: dict[str, Any]) -> dict[str, Any]:
        self.program: Program | None = None  # frees the last case's memory before allocating this one's
        self.call: Callable[[], Any] | None = None
        self.program = self.function(spec)
        return {"prepared_mib": resident_mib()}

    def compile(self) -> dict[str, Any]:
        assert self.program is not None
        self.call = None
        reset_peak()
        start = time.perf_counter()
        self.call = self.program.compile()
        return {"seconds": time.perf_counter() - start, "peak_mib": peak_mib()}

    def check(self, path: str) -> dict[str, Any]:
        assert self.program is not None
        assert self.call is not None
        arrays: dict[str, Any] = self.program.arrays(self.call())
        np.savez(path, **arrays)
        return {}

    def run(self, seconds: float, sample_seconds: float) -> dict[str, Any]:
        assert self.call is not None
        start = Usage.now()
        idle_cores = start.cores_since(self.last)
        reset_peak()
        samples, calls = turn(self.call, seconds, sample_seconds)
        end = Usage.now()
        return {
            "samples": samples,
            "peak_mib": peak_mib(),
            "page_faults": (end.page_faults - start.page_faults) / calls,
            "cores": end.cores_since(start),
            "other_cores": end.others_since(start),
            "idle_cores": idle_cores,
        }

    def rest(self) -> dict[str, Any]:
        """Waits until the threads sleep, for a limited time: some of them spin for a while after a call."""
        deadline = time.perf_counter() + MAX_REST
        while True:
            self.last = Usage.now()
            time.sleep(0.01)
            now = Usage.now()
            if now.cores_since(self.last) < 0.1 or now.wall > deadline:
                return {}


def turn(call: Callable[[], Any], seconds: float, sample_seconds: float) -> tuple[list[float], int]:
    """Calls repeatedly for `seconds`; returns the samples, in seconds per call, and the number of calls.

    A sample is the mean over as many calls as fill `sample_seconds`. Calls before the first sample warm up the threads
    and the caches; a call that takes longer than the turn is a sample by itself.
    """
    start = time.perf_counter()
    warm = [mean_seconds(call, 1)]
    if warm[0] > seconds:
        return warm, 1
    while time.perf_counter() - start < WARM_SECONDS:
        warm.append(mean_seconds(call, 1))
    repeats = max(1, round(sample_seconds / min(warm)))
    samples: list[float] = []
    start = time.perf_counter()
    while not samples or time.perf_counter() - start < seconds:
        samples.append(mean_seconds(call, repeats))
    return samples, len(warm) + repeats * len(samples)


def mean_seconds(call: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def busy_seconds() -> float | None:
    """Busy time of the cores that this process may use, by all processes; None where the system does not report it."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    ticks = 0
    for line in stat.read_text().splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in os.sched_getaffinity(0):
            user, nice, system, _, _, irq, soft_irq, steal, *_ = map(int, counts)
            ticks += user + nice + system + irq + soft_irq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib() -> float:
    """Memory held now; where the system does not report it, the peak so far."""
    return status_mib("VmRSS") or rusage_mib()


def peak_mib() -> float:
    """Peak memory since `reset_peak`; where the system cannot reset it, since the start."""
    return status_mib("VmHWM") or rusage_mib()


def reset_peak() -> None:
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def status_mib(key: str) -> float | None:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith(f"{key}:")), None)


def rusage_mib() -> float:
    # On Linux this is at least what the parent held when it started this process, so it is not used there.
    units = 1 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * units / 2**20


def mapped_libraries() -> list[str]:
    """Names of the shared libraries in this process, where the system lists them."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    return sorted({Path(line.split()[-1]).name for line in lines if ".so" in line})


def main(target: str) -> None:
    # Answers go to standard output; anything that libraries print there is redirected to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        message = json.loads(line)
        do = message.pop("do")
        try:
            worker = worker or Worker(target)
            answer = getattr(worker, do)(**message)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
