"""Forms that jds supports but that XLA's own convolution runs just as fast.

The limits were measured on a two-core CPU; `python -m benchmarks.other_layers` shows their effect.
"""

import math

from jds.ops._recognize import Form, Index

# For images: output features of a single input feature, and elements of a 1-D or 2-D window.
_FEATURES_OF_ONE, _WINDOW = 16, 256
# For filter banks along one axis with more than `_SHORT` terms: products per position.
_BANK = 512
# For one-axis filters of a single channel: terms of a short filter, and total products of a short and of a long filter.
_SHORT, _PRODUCTS, _LONG_PRODUCTS = 16, 2**18, 2**16
# For one-axis filters of two or three channels: terms of the filter, and terms of its gradient.
_NARROW = {2: (128, 32), 3: (512, 256)}


def fast_in_xla(form: Form) -> str | None:
    """Returns the reason why XLA's own convolution is as fast for a supported form, or None if it is slower."""
    is_line = sum(size > 1 for size in form.sizes(form.short)) <= 1
    if form.kind == "ordinary":
        return _of_images(form, is_line)
    channels = form.groups * max(form.short_features)
    if form.kind != "depthwise" or not is_line or not 1 <= channels <= 3:
        return None
    if _is_short_line(form) if channels == 1 else form.terms <= _NARROW[channels][form.short == "output"]:
        return None
    of = "a single channel" if channels == 1 else f"{channels} channels"
    return f"XLA's convolution of {of} with {form.terms} terms along one axis is as fast"


def _of_images(form: Form, is_line: bool) -> str | None:
    window = form.terms * form.in_features
    if form.in_features == 1 and form.out_features > _FEATURES_OF_ONE:
        return f"XLA's convolution from one feature to {form.out_features} is as fast"
    if len(form.axes) < 3 and window > _WINDOW:
        return f"XLA's convolution with windows of {window} elements is as fast"
    if form.out_features == 1 and is_line and form.terms > _SHORT:
        return f"XLA's convolution to one feature with {form.terms} terms along one axis is as fast"
    if is_line and form.terms > _SHORT and window * form.out_features >= _BANK:
        return f"XLA's convolution to {form.out_features} features with {form.terms} terms along one axis is as fast"
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
