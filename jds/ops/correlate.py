"""Sums of products over positions: the kernel gradient of a depthwise convolution.

XLA does not vectorise a reduction over outer dimensions. A loop over rows that adds whole rows to an accumulator does
vectorise; only the accumulators are reduced, at the end. The batch is not looped over: a sharded batch stays sharded,
and its one reduction comes last.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jds.ops.labelled import Labelled, multiply
from jds.ops.ties import Overlap

# Windows accumulated together in one loop: few enough that their accumulators stay in the cache.
_WINDOWS_IN_A_LOOP = 12
# Elements that one step of a loop should at least have, for its overhead not to show.
_ELEMENTS_IN_A_STEP = 8192


class Loop(NamedTuple):
    """How a loop runs over one axis: `trips` steps of `block` positions; the next one comes every `period` steps."""

    trips: int
    block: int
    period: int
    outermost: bool

    def position(self, step):
        """First position of a step; without the divisions where they change nothing."""
        step = step if self.period == 1 else step // self.period
        step = step if self.outermost else step % self.trips
        return step if self.block == 1 else step * self.block


def correlate(lhs: Labelled, rhs: Labelled, windows: list[list[Overlap]], dtype: jnp.dtype) -> list[Labelled]:
    """Multiplies `rhs` with shifted windows of `lhs`, and sums over positions and contracted features.

    Args:
      lhs: has labels `b`, `g`, `i` and the spatial axes.
      rhs: has labels `g`, `i`, `m` and the spatial axes.
      windows: for each result, on each spatial axis, where the two overlap.
      dtype: in which to sum.

    Returns:
      For each window an array with labels `b`, `g` and `m`.
    """
    spatial = [label for label in lhs.labels if label.isdigit()]
    work = [*lhs.labels, "m"]
    lhs, rhs = lhs.arrange(work), rhs.arrange(work)
    loops = _plan(rhs, spatial)
    lhs, rhs, windows = _whole_blocks(lhs, rhs, windows, loops)
    steps = math.prod(loop.trips for loop in loops.values())
    sums = []
    for group in _even_groups(windows):
        totals = [_product(lhs, rhs, 0, window, loops, dtype).array for window in group]
        if steps > 1:

            def add(step, totals, group=group):
                products = (_product(lhs, rhs, step, window, loops, dtype).array for window in group)
                return [total + product for total, product in zip(totals, products, strict=True)]

            totals = lax.fori_loop(1, steps, add, totals)
        sums += [Labelled(total, tuple(work)).sum(spatial) for total in totals]
    rest = sums[0].labels
    # One reduction over the batch for all windows: if it is sharded, one all-reduce.
    contracted = Labelled(jnp.stack([one.array for one in sums]), ("window", *rest)).sum("i")
    return [Labelled(value, contracted.labels[1:]) for value in contracted.array]


def _product(lhs: Labelled, rhs: Labelled, step, window: Sequence[Overlap], loops: dict[int, Loop], dtype) -> Labelled:
    """One step's rows of `lhs` times those of `rhs`; zero where the window has left `lhs`."""
    inside, a, b, counts = True, [], [], []
    for axis, overlap in enumerate(window):
        if axis in loops:
            a.append(loops[axis].position(step))
            b.append(_start(overlap) + overlap.b_step * a[-1])
            counts.append(loops[axis].block)
            inside &= (b[-1] >= 0) & (b[-1] < lhs.sizes[str(axis)])
        else:
            a.append(overlap.a)
            b.append(overlap.b)
            counts.append(overlap.positions)
    if inside is False:  # in the first step, where positions are known; a slice must still lie inside
        b = [max(start, 0) for start in b]
    product = multiply(lhs.window(b, counts, [axis.b_step for axis in window]), rhs.window(a, counts), dtype)
    return product if inside is True else Labelled(jnp.where(inside, product.array, 0), product.labels)


def _start(overlap: Overlap) -> int:
    """Position of `lhs` that meets position 0 of `rhs`; outside of it where the overlap begins later."""
    return overlap.b - overlap.b_step * overlap.a


def _plan(rhs: Labelled, spatial: list[str]) -> dict[int, Loop]:
    """Loops over all spatial axes but the innermost, and takes several positions a step where a step would be small."""
    looped = spatial[: max(1, len(spatial) - 1)]
    *outer, rows = (rhs.sizes[label] for label in looped)
    elements = math.prod(size for label, size in rhs.sizes.items() if label not in looped)
    block = min(rows, -(-_ELEMENTS_IN_A_STEP // elements))
    trips = [*outer, -(-rows // block)]
    return {
        int(label): Loop(trips[n], block if n == len(outer) else 1, math.prod(trips[n + 1 :]), outermost=n == 0)
        for n, label in enumerate(looped)
    }


def _whole_blocks(lhs: Labelled, rhs: Labelled, windows: list[list[Overlap]], loops: dict[int, Loop]):
    """Pads what is taken several positions a step, so that no block sticks out of either array."""
    for axis, loop in loops.items():
        if loop.block == 1:
            continue
        label, length = str(axis), loop.trips * loop.block
        low = max(0, *(-_start(window[axis]) for window in windows))
        last = max(_start(window[axis]) + window[axis].b_step * (length - 1) for window in windows)
        lhs = lhs.pad({label: (low, max(0, last + 1 - lhs.sizes[label]))})
        rhs = rhs.pad({label: (0, length - rhs.sizes[label])})
        windows = [
            [overlap._replace(b=overlap.b + low) if n == axis else overlap for n, overlap in enumerate(window)]
            for window in windows
        ]
    return lhs, rhs, windows


def _even_groups(windows: list) -> list[list]:
    """Cuts the windows into even groups of at most `_WINDOWS_IN_A_LOOP`."""
    number = -(-len(windows) // _WINDOWS_IN_A_LOOP)
    return [windows[n * len(windows) // number : (n + 1) * len(windows) // number] for n in range(number)]
