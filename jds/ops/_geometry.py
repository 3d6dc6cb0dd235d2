"""Checks and canonicalizes strides, padding and dilation."""

import operator
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Padding = str | int | Sequence[int | tuple[int, int]]
"""A string (`"SAME"`, `"SAME_LOWER"`, `"VALID"`, `"CAUSAL"`, `"CIRCULAR"`, `"REFLECT"`), or numbers."""

PadMode = Literal["constant", "wrap", "reflect"]

_NAMED_PADDINGS = ("SAME", "SAME_LOWER", "VALID", "CAUSAL", "CIRCULAR", "REFLECT")


class Geometry(NamedTuple):
    """The spatial parameters of a convolution in canonical form, one entry per spatial axis.

    Attributes:
      strides: positions from one window to the next.
      padding: positions added before and after each axis.
      pad_mode: how the added positions are filled; `"constant"` means with zeros.
      input_dilation, kernel_dilation: distance between neighbors in the dilated input and kernel.
    """

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    pad_mode: PadMode
    input_dilation: tuple[int, ...]
    kernel_dilation: tuple[int, ...]


def canonical_geometry(
    function: str,
    input_size: Sequence[int],
    kernel_size: Sequence[int],
    strides: int | Sequence[int],
    padding: Padding,
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
) -> Geometry:
    """Checks the spatial arguments of a convolution and puts them into canonical form.

    Args:
      function: the caller's name, for error messages.
      input_size, kernel_size: sizes of the spatial axes.
      strides, padding, input_dilation, kernel_dilation: as the caller passed them.

    Returns:
      The geometry.

    Raises:
      ValueError: an argument is invalid, or the output would be empty.
      TypeError: an argument contains something other than integers.
    """
    rank = len(kernel_size)
    strides = canonical_tuple(function, "strides", strides, rank)
    input_dilation = canonical_tuple(function, "input_dilation", input_dilation, rank)
    kernel_dilation = canonical_tuple(function, "kernel_dilation", kernel_dilation, rank)
    dilated_input = dilate(input_size, input_dilation)
    dilated_kernel = dilate(kernel_size, kernel_dilation)
    canonical = canonical_padding(function, padding, rank)
    if isinstance(canonical, str):
        if padding in ("SAME", "SAME_LOWER") and max(input_dilation) > 1:
            raise ValueError(
                f"{function}: `padding` must be numeric if `input_dilation` is not 1, "
                f"got {padding!r} with input_dilation={input_dilation}"
            )
        pads, mode = _named_padding(canonical, dilated_input, dilated_kernel, strides)
    else:
        pads, mode = canonical, "constant"
    # The two modes that copy values from the input pad it before it is dilated.
    _check_reflect(function, mode, input_size, pads)
    copied = mode != "constant"
    padded = (
        dilate([n + lo + hi for n, (lo, hi) in zip(input_size, pads, strict=True)], input_dilation)
        if copied
        else [n + lo + hi for n, (lo, hi) in zip(dilated_input, pads, strict=True)]
    )
    output = [max(0, (n - k) // s + 1) for n, k, s in zip(padded, dilated_kernel, strides, strict=True)]
    if 0 in output or 0 in input_size or 0 in kernel_size:
        raise ValueError(
            f"{function}: the output would be empty: an input of size {tuple(input_size)} with padding {padding!r} "
            f"gives {tuple(output)} for a kernel of size {tuple(kernel_size)} (dilated: {dilated_kernel}) and strides "
            f"{strides}; use a larger input, more padding or a smaller kernel"
        )
    return Geometry(strides, pads, mode, input_dilation, kernel_dilation)


def canonical_tuple(function: str, name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Returns `value` as `rank` positive integers; a single integer is repeated."""
    try:
        if isinstance(value, Iterable) and not isinstance(value, str):
            numbers = tuple(map(operator.index, value))
        else:
            numbers = (operator.index(value),) * rank  # type: ignore[arg-type]  # anything else raises TypeError here
    except TypeError:
        raise TypeError(f"{function}: `{name}` must be an int or a sequence of ints, got {value!r}") from None
    if len(numbers) != rank:
        raise ValueError(
            f"{function}: `{name}` must be an int or have one entry for each of the {rank} spatial axes, got {value!r}"
        )
    if min(numbers) < 1:
        raise ValueError(f"{function}: `{name}` must be at least 1 on every axis, got {value!r}")
    return numbers


def canonical_padding(function: str, padding: Padding, rank: int) -> str | tuple[tuple[int, int], ...]:
    """Returns a named padding unchanged, or one pair per spatial axis; raises ValueError or TypeError if invalid."""
    if isinstance(padding, str):
        if padding not in _NAMED_PADDINGS:
            raise ValueError(
                f"{function}: `padding` must be one of {', '.join(_NAMED_PADDINGS)} or numeric, got {padding!r}"
            )
        if padding == "CAUSAL" and rank != 1:
            raise ValueError(f"{function}: `padding` 'CAUSAL' requires 1 spatial axis, and this kernel has {rank}")
        return padding
    return _numeric_padding(function, padding, rank)


def dilate(sizes: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Returns the sizes after inserting `dilation - 1` positions between neighbors."""
    return tuple((n - 1) * d + 1 if n else 0 for n, d in zip(sizes, dilation, strict=True))


def output_size(input_size: Sequence[int], kernel_size: Sequence[int], geometry: Geometry) -> tuple[int, ...]:
    """Returns the spatial size of a convolution's result."""
    sizes = zip(
        dilate(input_size, geometry.input_dilation),
        dilate(kernel_size, geometry.kernel_dilation),
        geometry.padding,
        geometry.strides,
        strict=True,
    )
    return tuple(max(0, (size + low + high - window) // stride + 1) for size, window, (low, high), stride in sizes)


def _numeric_padding(function: str, padding, rank: int) -> tuple[tuple[int, int], ...]:
    entries = list(padding) if isinstance(padding, Iterable) else [padding] * rank
    pairs = [tuple(entry) if isinstance(entry, Iterable) else (entry, entry) for entry in entries]
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"{function}: `padding` must have one int or (low, high) pair for each of the {rank} spatial axes, got "
            f"{padding!r}"
        )
    try:
        return tuple((operator.index(low), operator.index(high)) for low, high in pairs)
    except TypeError:
        raise TypeError(
            f"{function}: `padding` must be a string, an int, or one int or (low, high) pair per axis, got {padding!r}"
        ) from None


def _named_padding(padding: str, input_size, kernel_size, strides) -> tuple[tuple[tuple[int, int], ...], PadMode]:
    if padding == "VALID":
        return ((0, 0),) * len(kernel_size), "constant"
    if padding == "CAUSAL":
        return tuple((k - 1, 0) for k in kernel_size), "constant"
    if padding in ("CIRCULAR", "REFLECT"):
        pads = tuple(((k - 1) // 2, k // 2) for k in kernel_size)
        return pads, "wrap" if padding == "CIRCULAR" else "reflect"
    pads = []
    for n, k, s in zip(input_size, kernel_size, strides, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads.append((total // 2, total - total // 2) if padding == "SAME" else (total - total // 2, total // 2))
    return tuple(pads), "constant"


def _check_reflect(function: str, mode: PadMode, input_size, pads) -> None:
    for axis, (n, (low, high)) in enumerate(zip(input_size, pads, strict=True)):
        if mode == "reflect" and max(low, high) > max(n - 1, 0):
            raise ValueError(
                f"{function}: `padding` 'REFLECT' can add at most size - 1 positions, and spatial axis {axis} of size "
                f"{n} would need {max(low, high)}; use a larger input or a smaller kernel"
            )
