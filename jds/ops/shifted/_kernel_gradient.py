"""Sums of products over positions: the kernel gradient of a depthwise convolution.

XLA does not vectorize a reduction over outer dimensions. It does vectorize a loop that adds whole rows to an
accumulator, so that only the accumulators need to be reduced, at the end. There is no loop over the batch: a sharded
batch stays sharded, and is reduced once, at the end.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jds.ops._named_array import NamedArray, multiply
from jds.ops.shifted._taps import Overlap

# Number of windows that one loop accumulates: few enough that the accumulators stay in the cache.
_WINDOWS_IN_A_LOOP = 12
# With more windows, the windows of a row share their code: unrolling all of them would take too long to compile.
_WINDOWS_WRITTEN_OUT = 32
# The overhead of a loop step, expressed as the number of elements that XLA reduces in that time.
_STEP_IN_ELEMENTS = 150


class Loop(NamedTuple):
    """A loop over one axis: `trips` steps of `block` positions, advancing every `period` steps."""

    trips: int
    block: int
    period: int
    outermost: bool

    def position(self, step):
        """Returns the first position of a step, without any redundant divisions."""
        step = step if self.period == 1 else step // self.period
        step = step if self.outermost else step % self.trips
        return step if self.block == 1 else step * self.block


def correlate(lhs: NamedArray, rhs: NamedArray, windows: list[list[Overlap]], dtype: jnp.dtype) -> list[NamedArray]:
    """Multiplies `rhs` with shifted windows of `lhs`, and sums over positions and contracted features.

    Args:
      lhs: an array with labels `b`, `g`, `i` and the spatial axes.
      rhs: an array with labels `g`, `i`, `m` and the spatial axes.
      windows: for each result, the overlap of the two on each spatial axis.
      dtype: dtype of the accumulators.

    Returns:
      One array per window, with labels `b`, `g` and `m`.
    """
    spatial = [label for label in lhs.labels if label.isdigit()]
    work = [*lhs.labels, "m"]
    lhs, rhs = lhs.arrange(work), rhs.arrange(work)
    loops = _loops(rhs, spatial)
    lhs, rhs, windows = _whole_blocks(lhs, rhs, windows, loops)

    def sums(windows: list[list[Overlap]]) -> jax.Array:
        return jnp.stack([total.sum(spatial).array for total in _totals(lhs, rhs, windows, loops, dtype)])

    if len(windows) > _WINDOWS_WRITTEN_OUT:
        stacked = _by_row(sums, windows, max(loops))
    else:
        stacked = jnp.concatenate([sums(group) for group in _even_groups(windows)])
    # One reduction over the batch for all windows, which is a single all-reduce if the batch is sharded.
    rest = tuple(label for label in work if label not in spatial)
    contracted = NamedArray(stacked, ("window", *rest)).sum("i")
    return [NamedArray(value, contracted.labels[1:]) for value in contracted.array]


def _totals(
    lhs: NamedArray, rhs: NamedArray, windows: list[list[Overlap]], loops: dict[int, Loop], dtype
) -> list[NamedArray]:
    """Accumulates the products of all steps, for each window."""
    totals = [_product(lhs, rhs, 0, window, loops, dtype).array for window in windows]
    steps = math.prod(loop.trips for loop in loops.values())
    if steps > 1:

        def add(step, totals):
            products = (_product(lhs, rhs, step, window, loops, dtype).array for window in windows)
            return [total + product for total, product in zip(totals, products, strict=True)]

        totals = lax.fori_loop(1, steps, add, totals)
    return [NamedArray(total, lhs.labels) for total in totals]


def _by_row(sums: Callable[[list[list[Overlap]]], jax.Array], windows: list[list[Overlap]], axis: int) -> jax.Array:
    """Computes windows that differ only along one axis with shared code; keeps the order of `windows`."""
    rows: dict[Overlap, list[int]] = {}
    for number, window in enumerate(windows):
        rows.setdefault(window[axis], []).append(number)
    some, *_ = rows.values()

    def row(start) -> jax.Array:
        moved = [list(windows[number]) for number in some]
        for window in moved:
            window[axis] = window[axis]._replace(a=0, b=start)
        return jnp.concatenate([sums(group) for group in _even_groups(moved)])

    starts = jnp.array([_start(overlap) for overlap in rows])
    out = lax.map(row, starts)
    order = [number for numbers in rows.values() for number in numbers]
    back = [order.index(number) for number in range(len(windows))]
    return out.reshape(len(windows), *out.shape[2:])[jnp.array(back)]


def _product(
    lhs: NamedArray, rhs: NamedArray, step, window: Sequence[Overlap], loops: dict[int, Loop], dtype
) -> NamedArray:
    """Multiplies one step's rows of `lhs` and `rhs`; the product is zero where the window lies outside `lhs`."""
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
    if inside is False:  # in the first step, whose positions are known; a slice must still lie inside
        b = [max(start, 0) for start in b]
    product = multiply(lhs.window(b, counts, [axis.b_step for axis in window]), rhs.window(a, counts), dtype)
    return product if inside is True else NamedArray(jnp.where(inside, product.array, 0), product.labels)


def _start(overlap: Overlap):
    """Returns the position of `lhs` paired with position 0 of `rhs`, possibly out of bounds; traced if `overlap` is."""
    return overlap.b - overlap.b_step * overlap.a


def _loops(rhs: NamedArray, spatial: list[str]) -> dict[int, Loop]:
    """Returns loops over all spatial axes except the innermost; small steps are merged into blocks of positions."""
    looped = spatial[: max(1, len(spatial) - 1)]
    *outer, rows = (rhs.sizes[label] for label in looped)
    elements = math.prod(size for label, size in rhs.sizes.items() if label not in looped)
    # Larger blocks mean fewer steps, but more elements in the accumulators, which are reduced at the end.
    block = min(rows, max(1, round(math.sqrt(_STEP_IN_ELEMENTS * rows / elements))))
    trips = [*outer, -(-rows // block)]
    return {
        int(label): Loop(trips[n], block if n == len(outer) else 1, math.prod(trips[n + 1 :]), outermost=n == 0)
        for n, label in enumerate(looped)
    }


def _whole_blocks(lhs: NamedArray, rhs: NamedArray, windows: list[list[Overlap]], loops: dict[int, Loop]):
    """Pads axes with several positions per step until every block lies inside both arrays."""
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
    """Splits the windows into even groups of at most `_WINDOWS_IN_A_LOOP`."""
    number = -(-len(windows) // _WINDOWS_IN_A_LOOP)
    return [windows[n * len(windows) // number : (n + 1) * len(windows) // number] for n in range(number)]
