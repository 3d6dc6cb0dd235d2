"""A copy of memory by all cores, to compare others with."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.harness.worker import Program

# One call copies at least so much: several times over where the arrays are small, for a thread to be worth waking.
BYTES = 2**28


def copy(spec: dict[str, Any]) -> Program:
    """Reads and writes `spec["bytes"]` in all, half each; each thread has its own share, as often as fills `BYTES`."""
    floats = max(1, spec["bytes"] // 8 // spec["threads"])
    repeats = copies(spec["bytes"])
    pairs = [(np.ones(floats, np.float32), np.zeros(floats, np.float32)) for _ in range(spec["threads"])]

    def share(pair):
        for _ in range(repeats):
            np.copyto(pair[1], pair[0])

    def compile():
        pool = ThreadPoolExecutor(spec["threads"])
        return lambda: list(pool.map(share, pairs))

    return Program(compile, lambda _: {"out": pairs[0][1]})


def copies(size: int) -> int:
    return max(1, BYTES // size)
