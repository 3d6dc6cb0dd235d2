"""Why the memory of a compiled program differs from that by the liveness of the program's arrays."""

from collections.abc import Iterator
from typing import NamedTuple

from jds.cost._liveness import Liveness
from jds.cost.hlo._view import XlaMemory


class MemoryDifference(NamedTuple):
    """One cause of a difference.

    Attributes:
      cause: `"arguments"`, `"results"` or `"temporaries"`.
      bytes: how much more memory XLA takes; negative if less.
      explanation: the cause in a sentence.
    """

    cause: str
    bytes: int
    explanation: str


# Why XLA takes more memory, and why less.
_EXPLANATIONS = {
    "arguments": (
        "XLA keeps all of them until the program ends",
        "XLA is not passed what is not read, nor constants, which are a part of the compiled program",
    ),
    "results": (
        "XLA gives them memory from the beginning, not that of arguments that are not donated",
        "XLA gives them the memory of arguments that are donated",
    ),
    "temporaries": (
        "XLA has an order of its own, copies, may hold constants, and gives its kernels memory to work in",
        "XLA fuses operations, has an order of its own, and uses the memory of results meanwhile",
    ),
}


def memory_differences(found: Liveness, xla: XlaMemory) -> Iterator[MemoryDifference]:
    """Yields the causes, in bytes, which add up to the difference."""
    others = found.bytes - found.arguments - found.results
    shared = xla.arguments + xla.results + xla.temporaries - xla.peak
    for cause, size in (
        ("arguments", xla.arguments - found.arguments),
        ("results", xla.results - shared - found.results),
        ("temporaries", xla.temporaries - others),
    ):
        if size:
            yield MemoryDifference(cause, size, _EXPLANATIONS[cause][size < 0])
