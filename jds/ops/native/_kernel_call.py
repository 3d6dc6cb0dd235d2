"""Calls of the CPU kernels: the geometry of a form, and the dtype of the result."""

from typing import Any

import jax
import jax.numpy as jnp

from jds.ops._recognize import Axis, Form
from jds.ops.native import _library
from jds.ops.native._attributes import AxisGeometry

DTYPES = tuple(map(jnp.dtype, (jnp.float32, jnp.bfloat16, jnp.float16)))
# Labels for the axes that one- and two-dimensional convolutions lack.
MISSING_AXES = ("first", "second")


def run_kernel(target: str, attributes: dict[str, Any], left: jax.Array, right: jax.Array, out: jax.ShapeDtypeStruct):
    """Calls a kernel."""
    _library.load()
    return jax.ffi.ffi_call(target, out)(left, right, **attributes)


def three_axes(form: Form) -> tuple[str, ...]:
    """Returns labels of three spatial axes."""
    return (*MISSING_AXES, *form.spatial)[-3:]


def result_dtype(form: Form) -> jnp.dtype:
    """Returns the dtype of a kernel's result: that of the operands, or float32."""
    return form.out_dtype if form.out_dtype == form.dtype else jnp.dtype(jnp.float32)


def geometries(form: Form) -> list[AxisGeometry]:
    """Returns the geometry of each axis."""
    return [_axis_geometry(axis, form) for axis in form.axes]


def _axis_geometry(axis: Axis, form: Form) -> AxisGeometry:
    if form.short == "output":
        return AxisGeometry(
            long_step=axis.rhs_dilation, short_step=axis.stride, low=axis.low, moving_step=axis.lhs_dilation
        )
    if form.short == "kernel":
        return AxisGeometry(
            long_step=axis.stride, short_step=axis.rhs_dilation, low=axis.low, moving_step=axis.lhs_dilation
        )
    # The moving array is the flipped kernel: it moves backward from one output to the next.
    low = axis.low - axis.rhs_dilation * (axis.kernel - 1)
    return AxisGeometry(long_step=axis.stride, short_step=-axis.lhs_dilation, low=low, moving_step=axis.rhs_dilation)
