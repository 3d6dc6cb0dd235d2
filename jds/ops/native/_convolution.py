"""Convolutions by CPU kernels in C++ (`src/`), through XLA's foreign function interface.

Depthwise and pointwise convolutions each have two kernels: a convolution, which serves as forward pass and input
gradient, and the kernel gradient. Two more kernels compute ordinary convolutions and the kernel gradients of ordinary
and grouped ones. The kernels take arrays with the features last. Channels-last operands are passed unchanged.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jds.ops._named_array import NamedArray
from jds.ops._partition import partitioned_call
from jds.ops._recognize import MAX_NUMBER, Axis, Form
from jds.ops.native import _library
from jds.ops.native._attributes import MAX_AXES, geometry_attributes, no_epilogue_attributes
from jds.ops.native._constants import MAX_CONTRACTED_FEATURES, MAX_TAPS
from jds.ops.native._kernel_call import DTYPES, MISSING_AXES, geometries, result_dtype, run_kernel, three_axes
from jds.ops.native._ordinary import ordinary, unsupported_ordinary


class _Call(NamedTuple):
    """A kernel, with the dimension order of its operands and its result; the first operand is the moving array."""

    target: str
    moving: tuple[str, ...]
    other: tuple[str, ...]
    out: tuple[str, ...]


def convolution(lhs: jax.Array, rhs: jax.Array, *, form: Form, partitioned: bool = False) -> jax.Array:
    """Computes a convolution, or a derivative of one, on the CPU; `unsupported(form)` must be None.

    Args:
      lhs, rhs: the operands of `lax.conv_general_dilated`, in the layouts of `form.labels`.
      form: the result of `recognize`.
      partitioned: whether the compiler may partition the operands across several devices.

    Returns:
      The convolution, in the layout `form.labels.out` and of dtype `form.out_dtype`. Accumulates in float32.
    """
    if form.is_empty:
        return jnp.zeros(form.out_shape, form.out_dtype)
    left = NamedArray(lhs.reshape(form.split_shape(form.labels.lhs, "input")), form.labels.lhs)
    right = NamedArray(rhs.reshape(form.split_shape(form.labels.rhs, "kernel")), form.labels.rhs)
    if _is_by_positions(form):
        out = _by_positions(left, right, form, partitioned)
    else:
        out = (ordinary if form.kind == "ordinary" else _pointwise)(left, right, form)
    out = out.arrange(form.labels.out)
    return out.array.reshape(form.out_shape).astype(form.out_dtype)


def unsupported(form: Form) -> str | None:
    """Returns the reason why the kernels cannot compute this equation, or None if they can."""
    if form.dtype not in DTYPES:
        return f"`native` supports float32, bfloat16 and float16, not {form.dtype.name}"
    if not jnp.issubdtype(form.out_dtype, jnp.floating) or form.out_dtype == jnp.float64:
        return f"`native` supports results of at most 32 bits, not {form.out_dtype.name}"
    is_product = form.kind != "ordinary" and not _is_by_positions(form)
    if not is_product and not 1 <= len(form.axes) <= MAX_AXES:
        return f"`native` supports 1 to {MAX_AXES} spatial axes, and this one has {len(form.axes)}"
    if any(abs(number) > MAX_NUMBER for axis in form.axes for number in axis):
        return f"`native` supports sizes, strides, dilations and padding of at most {MAX_NUMBER}"
    if form.kind == "ordinary" and not _is_by_positions(form):
        return unsupported_ordinary(form) or _library.fault()
    if _is_grouped_gradient(form) or _is_plain_pointwise(form):
        return _library.fault()
    if not _is_depthwise(form):
        which = "" if form.kind != "pointwise" else " with groups" if form.groups > 1 else " with strides or padding"
        return f"`native` supports depthwise and pointwise convolutions, and this one is {form.kind}{which}"
    if form.terms > MAX_TAPS:
        return f"`native` sums at most {MAX_TAPS} terms, and this convolution has {form.terms}"
    if form.short != "output" and form.in_features > MAX_CONTRACTED_FEATURES:
        return f"`native` contracts at most {MAX_CONTRACTED_FEATURES} features, not {form.in_features}"
    return _library.fault()


def _is_by_positions(form: Form) -> bool:
    return _is_depthwise(form) or _is_grouped_gradient(form)


def _is_depthwise(form: Form) -> bool:
    """Whether each group is a vector; a single channel may also be a matrix product of width 1."""
    return min(form.short_features) <= 1


def _is_grouped_gradient(form: Form) -> bool:
    """Whether it is the kernel gradient of groups, or of one, that are vectors in none of the arrays."""
    is_dense = form.groups > 1 or form.kind == "ordinary"
    return is_dense and form.short == "output" and min(form.short_features) > 1


def _is_plain_pointwise(form: Form) -> bool:
    """Whether it is a plain product of two matrices, positions by features, without strides or padding."""
    if form.kind != "pointwise" or form.groups != 1 or form.short == "input":
        return False
    long = "output" if form.short == "kernel" else "kernel"
    return all(
        axis.input == getattr(axis, long) and axis.low == 0 and axis.lhs_dilation == 1 and _long_step(axis, form) == 1
        for axis in form.axes
    )


def _long_step(axis: Axis, form: Form) -> int:
    return axis.stride if form.short == "kernel" else axis.rhs_dilation


def _by_positions(left: NamedArray, right: NamedArray, form: Form, partitioned: bool) -> NamedArray:
    call = _call(form)
    if form.short == "input":
        flipped = lax.rev(right.array, [right.labels.index(axis) for axis in form.spatial])
        left, right = NamedArray(flipped, right.labels), left
    moving, other = left.arrange(call.moving), right.arrange(call.other)
    sizes = dict(zip(form.labels.out, form.split_shape(form.labels.out), strict=True))
    out = jax.ShapeDtypeStruct([sizes.get(label, 1) for label in call.out], result_dtype(form))
    attributes = geometry_attributes(geometries(form))
    if call.target == "jds_depthwise":
        attributes |= no_epilogue_attributes()
    run = functools.partial(run_kernel, call.target, attributes)
    result = partitioned_call(run, moving, other, out, call.out) if partitioned else run(moving.array, other.array, out)
    return NamedArray(result, call.out).without([axis for axis in call.out if axis in MISSING_AXES])


def _pointwise(left: NamedArray, right: NamedArray, form: Form) -> NamedArray:
    space = form.spatial
    sizes = left.sizes | right.sizes
    if form.short == "output":
        rows, columns = (
            array.arrange(["i", *space, "g", label]).array.reshape(-1, sizes[label])
            for array, label in ((left, "b"), (right, "m"))
        )
        out = jax.ShapeDtypeStruct((sizes["b"], sizes["m"]), result_dtype(form))
        product = run_kernel("jds_matrix_gradient", {}, rows, columns, out)
        return NamedArray(product.reshape(*(1 for _ in space), 1, *out.shape), (*space, "g", "b", "m"))
    pixels = left.arrange(["b", *space, "g", "i"]).array.reshape(-1, sizes["i"])
    transposed = right.labels.index("m") < right.labels.index("i")
    weights = right.arrange([*space, "g", *("mi" if transposed else "im")])
    matrix = weights.array.reshape(weights.array.shape[-2:])
    out = jax.ShapeDtypeStruct((pixels.shape[0], sizes["m"]), result_dtype(form))
    product = run_kernel("jds_matrix_product", {"transposed": transposed}, pixels, matrix, out)
    positions = [axis.output for axis in form.axes]
    return NamedArray(product.reshape(form.batch, *positions, 1, sizes["m"]), ("b", *space, "g", "m"))


def _call(form: Form) -> _Call:
    space = three_axes(form)
    if _is_grouped_gradient(form):
        return _Call("jds_grouped_gradient", ("i", *space, "g", "b"), ("i", *space, "g", "m"), (*space, "b", "g", "m"))
    if form.short == "output":
        return _Call("jds_kernel_gradient", ("i", *space, "g", "b"), ("i", *space, "g", "m"), (*space, "g", "b", "m"))
    if form.short == "kernel":
        return _Call("jds_depthwise", ("b", *space, "g", "i"), (*space, "g", "i", "m"), ("b", *space, "g", "m"))
    return _Call("jds_depthwise", ("m", *space, "g", "i"), (*space, "g", "i", "b"), ("m", *space, "g", "b"))
