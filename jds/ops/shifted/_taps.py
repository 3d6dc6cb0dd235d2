"""The taps of a convolution: the positions of two arrays that are paired when a position of the third is fixed.

On one axis, fixing a position of the short index pairs positions `a` and `b` of the other two indices if `alpha * a -
beta * b == c`. The solutions are `a = phase + a_step * q`, `b = start + b_step * q` for `q = 0, 1, ...`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from jds.ops._recognize import Axis, Index


class Tap(NamedTuple):
    """On one axis, `position` of the short array pairs `phase + a_step * q` with `start + b_step * q`."""

    position: int
    phase: int
    start: int


class Taps(NamedTuple):
    """The taps of one axis that reach data, with their common steps and sizes."""

    taps: tuple[Tap, ...]
    a_step: int
    b_step: int
    a_size: int
    b_size: int

    def positions(self, phase: int) -> int:
        """Number of positions `q` of a phase."""
        return -(-(self.a_size - phase) // self.a_step)


class Overlap(NamedTuple):
    """The part of a tap where both arrays have data: `a` in steps within its phase, `b` in positions."""

    a: int
    b: int
    b_step: int
    positions: int


def find_taps(axis: Axis, short: Index) -> Taps:
    """Returns the taps of one axis.

    Args:
      axis: the axis.
      short: the index that is unrolled. `a` is a position of the output, or of the kernel if `short` is `"output"`. `b`
        is a position of the input, or of the flipped kernel if `short` is `"input"`.
    """
    alpha, beta, constants, a_size, b_size = _equation(axis, short)
    divisor = math.gcd(alpha, beta)
    a_step, b_step = beta // divisor, alpha // divisor
    taps = []
    for position, c in enumerate(constants):
        if c % divisor:
            continue
        phase = c // divisor * pow(b_step, -1, a_step) % a_step
        tap = Tap(position, phase, (alpha * phase - c) // beta)
        positions = -(-(a_size - phase) // a_step)
        if overlap(tap, b_step, positions, b_size).positions > 0:
            taps.append(tap)
    return Taps(tuple(taps), a_step, b_step, a_size, b_size)


def overlap(tap: Tap, b_step: int, positions: int, b_size: int) -> Overlap:
    """Restricts a tap with `positions` positions to an array of size `b_size`."""
    first = max(0, -(tap.start // b_step))
    last = min(positions - 1, (b_size - 1 - tap.start) // b_step)
    return Overlap(first, tap.start + b_step * first, b_step, last - first + 1)


def by_phase(axes: Sequence[Taps]) -> dict[tuple[int, ...], list[tuple[Tap, ...]]]:
    """Groups the terms, one tap per axis, by phase."""
    phases: dict[tuple[int, ...], list[tuple[Tap, ...]]] = {}
    for term in itertools.product(*(axis.taps for axis in axes)):
        phases.setdefault(tuple(tap.phase for tap in term), []).append(term)
    return phases


def _equation(axis: Axis, short: Index) -> tuple[int, int, list[int], int, int]:
    """Returns `alpha`, `beta`, the constant `c` for each short position, and the sizes of `a` and `b`."""
    stride, low, lhs_dilation, rhs_dilation = axis.stride, axis.low, axis.lhs_dilation, axis.rhs_dilation
    if short == "kernel":
        constants = [low - rhs_dilation * k for k in range(axis.kernel)]
        return stride, lhs_dilation, constants, axis.output, axis.input
    if short == "output":
        constants = [low - stride * p for p in range(axis.output)]
        return rhs_dilation, lhs_dilation, constants, axis.kernel, axis.input
    # As the output position increases, the kernel position decreases; flipping the kernel, k = kernel - 1 - b.
    constants = [low + lhs_dilation * x - rhs_dilation * (axis.kernel - 1) for x in range(axis.input)]
    return stride, rhs_dilation, constants, axis.output, axis.kernel
