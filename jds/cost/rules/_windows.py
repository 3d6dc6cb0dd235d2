"""The axes of convolutions and of other windows, and the products of a kernel and an input along one of them."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jds._common.convolution_axes import convolution_axes as convolution_axes_of
from jds.cost.rules._table import Equation


class WindowAxis(NamedTuple):
    """One spatial axis of a convolution, as in `lax.conv_general_dilated`.

    Output position `o` and kernel position `k` read input position `stride * o + rhs_dilation * k - low`, where
    `lhs_dilation - 1` holes lie between neighboring elements.
    """

    input: int
    kernel: int
    output: int
    stride: int = 1
    low: int = 0
    lhs_dilation: int = 1
    rhs_dilation: int = 1


def convolution_axes(equation: Equation) -> list[WindowAxis]:
    """Returns the spatial axes of a `conv_general_dilated`."""
    (lhs, rhs), (out,) = equation.inputs, equation.outputs
    return [WindowAxis(*each) for each in convolution_axes_of(lhs, rhs, out, equation.params)]


def window_axes(array: Any, out: Any, params: Mapping[str, Any]) -> list[WindowAxis]:
    """Returns all axes of a `reduce_window` or a primitive like it, with one result of the shape `out` per window."""
    ones = (1,) * len(out.shape)
    return [
        WindowAxis(i, k, o, stride, low, base, dilation)
        for i, k, o, stride, (low, _), base, dilation in zip(
            array.shape,
            params["window_dimensions"],
            out.shape,
            params["window_strides"],
            params["padding"],
            params.get("base_dilation", ones),
            params.get("window_dilation", ones),
            strict=True,
        )
    ]


def products(axis: WindowAxis, *, padding: bool) -> int:
    """Counts the pairs of output and kernel positions that read an input element or, with `padding`, padding.

    Holes never count. Time and memory are proportional to the smaller of kernel and output.
    """
    if 0 in (axis.kernel, axis.output) or (axis.input == 0 and not padding):
        return 0
    short, step, long, long_step = axis.kernel, axis.rhs_dilation, axis.output, axis.stride
    if short > long:
        short, step, long, long_step = long, long_step, short, step
    # For each short position: the long positions l with long_step * l + offset = lhs_dilation * i, i an input.
    offset = step * np.arange(short, dtype=np.int64) - axis.low
    common = math.gcd(long_step, axis.lhs_dilation)
    period = axis.lhs_dilation // common
    inverse = pow(long_step // common, -1, period) if period > 1 else 0
    meets = offset % common == 0
    first = (-(offset // common) * inverse) % period
    last = np.full_like(first, long - 1)
    if not padding:
        first += np.maximum(0, _divide_up(-offset - long_step * first, long_step * period)) * period
        last = np.minimum(last, (axis.lhs_dilation * (axis.input - 1) - offset) // long_step)
    return int(np.sum(np.where(meets & (last >= first), (last - first) // period + 1, 0)))


def _divide_up(a: np.ndarray, b: int) -> np.ndarray:
    return -(-a // b)
