"""The largest batch that fits into a memory."""

from collections.abc import Callable
from typing import Any

from jds.cost._analysis import Analysis
from jds.cost._data import head

_LARGEST = 2**24


def largest_batch(bytes_of: Callable[[int], int], size: int) -> int:
    """Returns the largest batch whose peak memory is at most a size; 0 if not even one image fits.

    The peak is the largest of several sums of arrays, each of which grows in proportion to the batch or not at all. So
    it is a convex function, and a line between two of its points is never below it.

    Args:
      bytes_of: returns the peak memory with a batch, in bytes.
      size: size of the memory, in bytes.

    Raises:
      ValueError: millions of images fit.

    Example:
      >>> from jds import cost
      >>> cost.largest_batch(lambda batch: 1000 + 30 * batch, 2000)
      33
    """
    known: dict[int, int] = {}

    def fits(batch: int) -> bool:
        if batch not in known:
            known[batch] = bytes_of(batch)
        return known[batch] <= size

    if not fits(1):
        return 0
    low, high = 1, 4
    while fits(high):
        low, high = high, 4 * high
        if high > _LARGEST:
            raise ValueError(f"largest_batch: a batch of {low} fits, too; is the memory meant to be {size} bytes?")
    while high - low > 1:
        line = low + (size - known[low]) * (high - low) // (known[high] - known[low])
        middle = max(low + 1, min(line, high - 1))
        low, high = (middle, high) if fits(middle) else (low, middle)
        if low + 1 < high and not fits(low + 1):
            high = low + 1
    return low


def batch_record(analysis: Analysis, batch: int, size: int) -> dict[str, Any]:
    """Returns a largest batch as a dictionary that `json` can write; its JSON Schema is `jds.cost.json_schema()`.

    Args:
      analysis: the program with this batch, or with one image if not even one fits.
      batch: the largest batch, or 0.
      size: size of the memory, in bytes.
    """
    record = head("jds.cost.largest_batch", analysis.name)
    return record | {"size": size, "batch": batch, "memory": analysis.memory.to_dict()}
