"""Forms that jds supports but that XLA's own convolution runs just as fast.

The limits were measured on a two-core CPU; `python -m benchmarks.other_layers` shows their effect.
"""

import math
from collections.abc import Sequence

from jds.ops._recognize import Form, Index

# Output features of a single input feature; elements of a 1-D or 2-D window that is too large for images, or for few
# output features.
_FEATURES_OF_ONE, _WINDOW, _IMAGE, _FEW = 16, 256, 3, 16
# Output features of dilated inputs, and terms of a kernel gradient for images.
_FEW_DILATED, _IMAGE_TERMS = 8, 25
# For filter banks along one axis with more than `_SHORT` terms: products per position.
_BANK = 512
# For one-axis filters of a single channel: terms of a short filter, and total products of a short and of a long filter.
_SHORT, _PRODUCTS, _LONG_PRODUCTS = 16, 2**18, 2**16
# For one-axis filters of two or three channels: terms of the filter, and terms of its gradient.
_NARROW = {2: (128, 32), 3: (512, 256)}


def fast_in_xla(form: Form) -> str | None:
    """Returns the reason why XLA's own convolution is as fast for a supported form, or None if it is slower."""
    if form.kind == "ordinary":
        return _of_kernel_gradient(form) if form.short == "output" else _of_windows(form)
    is_line = _is_line(form.sizes(form.short))
    channels = form.groups * max(form.short_features)
    if form.kind != "depthwise" or not is_line or not 1 <= channels <= 3:
        return None
    if _is_short_line(form) if channels == 1 else form.terms <= _NARROW[channels][form.short == "output"]:
        return None
    of = "a single channel" if channels == 1 else f"{channels} channels"
    return f"XLA's convolution of {of} with {form.terms} terms along one axis is as fast"


def _is_line(sizes: Sequence[int]) -> bool:
    return sum(size > 1 for size in sizes) <= 1


def _of_kernel_gradient(form: Form) -> str | None:
    features = form.batch  # a kernel gradient has the input features as its batch
    is_line = _is_line(form.sizes("output"))
    if features == _IMAGE and len(form.axes) == 2 and form.terms <= _IMAGE_TERMS:
        return f"XLA's kernel gradient of {form.terms} terms for images is as fast"
    if is_line and features <= _IMAGE and form.terms > _SHORT and form.terms * features * form.out_features >= _BANK:
        return f"XLA's kernel gradient of {form.terms} terms along one axis is as fast"
    return None


def _of_windows(form: Form) -> str | None:
    sizes = form.sizes("kernel")
    terms, is_line = math.prod(sizes), _is_line(sizes)
    window = terms * form.in_features
    is_large = len(form.axes) < 3 and window > _WINDOW
    if form.in_features == 1 and form.out_features > _FEATURES_OF_ONE:
        return f"XLA's convolution from one feature to {form.out_features} is as fast"
    if is_large and (form.in_features <= _IMAGE or form.out_features < _FEW):
        return f"XLA's convolution with windows of {window} elements to {form.out_features} features is as fast"
    is_dilated = any(axis.lhs_dilation > 1 for axis in form.axes)
    if len(form.axes) < 3 and is_dilated and form.out_features < _FEW_DILATED:
        return f"XLA's convolution of dilated inputs to {form.out_features} features is as fast"
    if form.out_features == 1 and is_line and terms > _SHORT:
        return f"XLA's convolution to one feature with {terms} terms along one axis is as fast"
    if is_line and terms > _SHORT and window * form.out_features >= _BANK:
        return f"XLA's convolution to {form.out_features} features with {terms} terms along one axis is as fast"
    return None


def _is_short_line(form: Form) -> bool:
    """Whether the arithmetic is so small that the overhead of XLA's call outweighs it."""
    is_gradient = form.short == "output"
    long: Index = "kernel" if is_gradient else "output"
    positions = form.batch * form.in_features * form.out_features * math.prod(form.sizes(long))
    is_short = form.terms <= _SHORT
    if is_gradient and not is_short:
        return False
    return form.terms * positions <= (_PRODUCTS if is_short and not is_gradient else _LONG_PRODUCTS)
