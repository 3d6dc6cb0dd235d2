"""Convolutions with their epilogues, run by a CPU kernel, which keeps intermediate results in the cache."""

import math

import jax
import jax.numpy as jnp

from jds.ops._fused_block import Block, FusedForm, Step
from jds.ops._geometry import output_size
from jds.ops.native._attributes import MAX_AXES, AxisGeometry, epilogue_attributes, geometry_attributes
from jds.ops.native._constants import MAX_CONTRACTED_FEATURES, MAX_TAPS
from jds.ops.native._ordinary import MAX_WINDOW


def convolutions(images: jax.Array, *operands: jax.Array, block: Block) -> jax.Array:
    """Computes a block on the CPU: one convolution that is not grouped, or a depthwise and a pointwise convolution.

    Args:
      images: `(batch, *spatial, in_features)`.
      *operands: the kernel, scale (if any) and bias (if any) of each step.
      block: the steps.

    Returns:
      `(batch, *out_spatial, out_features)`, computed in float32 and rounded once, at the end.
    """
    first = block.steps[0]
    rank = len(first.geometry.strides)
    ones = (1,) * (MAX_AXES - rank)
    batch, *spatial, in_features = images.shape
    positions = output_size(spatial, operands[0].shape[:rank], first.geometry)
    kinds = FusedForm(block, (images, *operands)).kinds
    target = "jds_separable" if len(kinds) == 2 else "jds_depthwise" if kinds[0] == "depthwise" else "jds_ordinary"
    # The depthwise kernel alone takes features as `(groups, features per group)`.
    groups = (first.feature_group_count,) if target == "jds_depthwise" else ()
    rest, out_features = iter(operands), 0
    arrays = [images.reshape(batch, *ones, *spatial, *_split(in_features, groups))]
    for number, step in enumerate(block.steps):
        kernel = next(rest)
        out_features = kernel.shape[-1]
        if number:
            kernel = kernel.reshape(kernel.shape[-2:])
        elif target == "jds_ordinary":
            kernel = kernel.reshape(*ones, *kernel.shape)
        else:
            kernel = _by_groups(kernel.reshape(*ones, *kernel.shape), step.feature_group_count)
        arrays.append(kernel)
        arrays += [next(rest).astype(jnp.float32) for present in (step.has_scale, step.has_bias) if present]
    out = jax.ShapeDtypeStruct((batch, *ones, *positions, *_split(out_features, groups)), images.dtype)
    arrays += [added.reshape(out.shape) for added in rest]
    attributes = geometry_attributes(_geometry(first)) | epilogue_attributes(block.steps)
    result = jax.ffi.ffi_call(target, out)(*arrays, **attributes)
    return result.reshape(batch, *positions, out_features)


def unsupported_convolutions(form: FusedForm) -> str | None:
    """Returns the reason why the kernel cannot compute these convolutions, or None if it can."""
    block = form.block
    images, kernel, *_ = form.operands
    first = block.steps[0]
    window = kernel.shape[:-2]
    if any(step.preferred_element_type not in (None, images.dtype) for step in block.steps):
        return "the kernel's results always have the dtype of its inputs"
    if any(dilation != 1 for dilation in first.geometry.input_dilation):
        return "the kernel does not dilate its inputs"
    if math.prod(window) > MAX_TAPS:
        return f"the kernel sums at most {MAX_TAPS} terms, not {math.prod(window)}"
    kind = form.kinds[0]
    if kind == "grouped":
        return "the kernel computes no grouped convolutions but depthwise ones"
    if kind == "depthwise" and kernel.shape[-2] > MAX_CONTRACTED_FEATURES:
        return f"the kernel contracts at most {MAX_CONTRACTED_FEATURES} features of a group, not {kernel.shape[-2]}"
    if kind == "ordinary" and math.prod(kernel.shape[:-1]) > MAX_WINDOW:
        return f"the kernel's windows have at most {MAX_WINDOW} elements, not {math.prod(kernel.shape[:-1])}"
    return None


def _by_groups(kernel: jax.Array, groups: int) -> jax.Array:
    """Returns a kernel as `(*window, groups, in_features, out_features)`, with the features of each group."""
    *window, in_features, out_features = kernel.shape
    return kernel.reshape(*window, in_features, groups, out_features // groups).swapaxes(-3, -2)


def _split(features: int, groups: tuple[int, ...]) -> tuple[int, ...]:
    """Returns features as `(groups, features per group)`, or as they are if there are no groups."""
    return (*groups, features // math.prod(groups))


def _geometry(step: Step) -> list[AxisGeometry]:
    geometry = step.geometry
    return [
        AxisGeometry(long_step=stride, short_step=dilation, low=low)
        for stride, (low, _), dilation in zip(geometry.strides, geometry.padding, geometry.kernel_dilation, strict=True)
    ]
