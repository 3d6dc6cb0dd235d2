"""Why the memory of a compiled program differs from that by the liveness of the program's arrays."""

from collections.abc import Iterator
from typing import NamedTuple

from jds.cost._memory import Memory
from jds.cost.hlo._view import XlaMemory

# What a program is called with.
_ARGUMENTS = ("parameters", "state", "optimizer", "inputs")


class MemoryDifference(NamedTuple):
    """One cause of a difference.

    Attributes:
      cause: `"arguments"`, `"results"`, `"shared"` or `"temporaries"`.
      bytes: how much more memory XLA takes; negative if less.
      explanation: the cause in a sentence.
    """

    cause: str
    bytes: int
    explanation: str


def memory_differences(memory: Memory, xla: XlaMemory) -> Iterator[MemoryDifference]:
    """Yields the causes, in bytes, which add up to the difference."""
    arguments = sum(memory.parts.get(part, 0) for part in _ARGUMENTS)
    others = memory.bytes - arguments
    shared = xla.arguments + xla.results + xla.temporaries - xla.peak
    for cause, size, explanation in (
        ("arguments", xla.arguments - arguments, "XLA keeps all arguments until the program ends"),
        ("results", xla.results, "XLA gives them memory of their own from the beginning"),
        ("shared", -shared, "results in the memory of arguments that were donated"),
        (
            "temporaries",
            xla.temporaries - others,
            "XLA fuses operations, has an order of its own, and its kernels need memory to work in",
        ),
    ):
        if size:
            yield MemoryDifference(cause, size, explanation)
