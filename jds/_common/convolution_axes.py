"""The spatial axes of a convolution."""

from collections.abc import Iterator, Mapping
from typing import Any


def convolution_axes(lhs: Any, rhs: Any, out: Any, params: Mapping[str, Any]) -> Iterator[tuple[int, ...]]:
    """Yields numbers of each spatial axis of a `conv_general_dilated`, as Python's integers.

    They are the sizes of the input, the kernel and the output, the stride, the padding before the first element, and
    the dilations of the input and the kernel.

    Args:
      lhs, rhs, out: shapes of the operands and the result.
      params: the parameters of the primitive. lax keeps the integers that it was given, which may be NumPy's.
    """
    numbers = params["dimension_numbers"]
    for i, k, o, stride, (low, _), lhs_dilation, rhs_dilation in zip(
        numbers.lhs_spec[2:],
        numbers.rhs_spec[2:],
        numbers.out_spec[2:],
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    ):
        yield tuple(map(int, (lhs.shape[i], rhs.shape[k], out.shape[o], stride, low, lhs_dilation, rhs_dilation)))
