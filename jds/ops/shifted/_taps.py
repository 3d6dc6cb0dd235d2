"""Which positions of two arrays meet when a position of a third is fixed.

On one axis of a convolution, fixing a position of the short index ties a position `a` of one of the other two indices
to a position `b` of the other by `alpha * a - beta * b == c`. The solutions are `a = phase + a_step * q`,
`b = start + b_step * q` for `q = 0, 1, ...`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from jds.ops._recognize import Axis, Index


class Tie(NamedTuple):
    """On one axis, a `position` of the short array ties `phase + a_step * q` to `start + b_step * q`."""

    position: int
    phase: int
    start: int


class Ties(NamedTuple):
    """All that touch data on one axis, with the steps and sizes that they share."""

    ties: tuple[Tie, ...]
    a_step: int
    b_step: int
    a_size: int
    b_size: int

    def positions(self, phase: int) -> int:
        """Number of positions `q` of a phase."""
        return -(-(self.a_size - phase) // self.a_step)


class Overlap(NamedTuple):
    """The part of a tie where both arrays have data: `a` counted in steps within its phase, `b` in positions."""

    a: int
    b: int
    b_step: int
    positions: int


def solve(axis: Axis, short: Index) -> Ties:
    """Returns the ties of one axis.

    Args:
      axis: the axis.
      short: the index that is written out. For `"kernel"` and `"input"`, `a` is the output's; for `"output"` it is
        the kernel's. `b` is the input's, but for `"input"` that of the flipped kernel.
    """
    alpha, beta, constants, a_size, b_size = _equation(axis, short)
    divisor = math.gcd(alpha, beta)
    a_step, b_step = beta // divisor, alpha // divisor
    ties = []
    for position, c in enumerate(constants):
        if c % divisor:
            continue
        phase = c // divisor * pow(b_step, -1, a_step) % a_step
        tie = Tie(position, phase, (alpha * phase - c) // beta)
        positions = -(-(a_size - phase) // a_step)
        if overlap(tie, b_step, positions, b_size).positions > 0:
            ties.append(tie)
    return Ties(tuple(ties), a_step, b_step, a_size, b_size)


def overlap(tie: Tie, b_step: int, positions: int, b_size: int) -> Overlap:
    """Cuts a tie of so many positions to those inside an array of size `b_size`."""
    first = max(0, -(tie.start // b_step))
    last = min(positions - 1, (b_size - 1 - tie.start) // b_step)
    return Overlap(first, tie.start + b_step * first, b_step, last - first + 1)


def by_phase(axes: Sequence[Ties]) -> dict[tuple[int, ...], list[tuple[Tie, ...]]]:
    """Returns the terms, each with a tie for each axis, under their phases."""
    phases: dict[tuple[int, ...], list[tuple[Tie, ...]]] = {}
    for term in itertools.product(*(axis.ties for axis in axes)):
        phases.setdefault(tuple(tie.phase for tie in term), []).append(term)
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
    # As the output moves on, the kernel moves back; flipped, k = kernel - 1 - b.
    constants = [low + lhs_dilation * x - rhs_dilation * (axis.kernel - 1) for x in range(axis.input)]
    return stride, rhs_dilation, constants, axis.output, axis.kernel
