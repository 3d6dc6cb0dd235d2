"""The largest batch that fits into a memory."""

import itertools
from collections.abc import Callable
from typing import Any

from jds.cost._analysis import Analysis
from jds.cost._data import head

_LARGEST = 2**24
# After this many trials, one halves what is left, for peaks that are not as described.
_HALVED_AFTER = 4


def largest_batch(bytes_of: Callable[[int], int], size: int) -> int:
    """Returns the largest batch whose peak memory is at most a size; 0 if not even one image fits.

    The peak is the largest of several sums of arrays, each of which grows in proportion to the batch or not at all. So
    it is a convex function: a line between two of its points is never below it, and beyond them never above it. Where
    such lines reach the size are the batches to try. Most peaks are lines themselves, and need few trials.

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
    known = {1: bytes_of(1)}
    if known[1] > size:
        return 0
    # The two largest batches that are known to fit, and the smallest one that does not.
    before, low, high = 1, 1, _LARGEST + 1
    is_fitting = True
    for number in itertools.count(1):
        if high - low == 1:
            return low
        first, second = (before, low) if is_fitting else (low, high)
        if number % _HALVED_AFTER == 0:
            batch = (low + high) // 2
        elif first == second:
            batch = 2
        else:
            growth = known[second] - known[first]
            batch = first + (size - known[first]) * (second - first) // growth if growth > 0 else _LARGEST
        batch = max(low + 1, min(batch, high - 1))
        known[batch] = bytes_of(batch)
        is_fitting = known[batch] <= size
        if not is_fitting:
            high = batch
        elif batch == _LARGEST:
            break
        else:
            before, low = low, batch
    raise ValueError(f"largest_batch: a batch of {_LARGEST} fits, too; is the memory meant to be {size} bytes?")


def batch_record(analysis: Analysis, batch: int, size: int) -> dict[str, Any]:
    """Returns a largest batch as a dictionary that `json` can write; its JSON Schema is `jds.cost.json_schema()`.

    Args:
      analysis: the program with this batch, or with one image if not even one fits.
      batch: the largest batch, or 0.
      size: size of the memory, in bytes.
    """
    record = head("jds.cost.largest_batch", analysis.name)
    return record | {"size": size, "batch": batch, "memory": analysis.memory.to_dict()}
