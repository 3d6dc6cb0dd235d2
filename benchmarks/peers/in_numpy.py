"""A memory copy on all cores, for reference."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.harness.worker import Program

# Bytes that one call copies at least: it repeats copies of small arrays, so that waking the threads pays off.
BYTES = 2**28


def copy(spec: dict[str, Any]) -> Program:
    """Reads half of `spec["bytes"]` and writes the other half, in one share per thread, until `BYTES` are copied."""
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
