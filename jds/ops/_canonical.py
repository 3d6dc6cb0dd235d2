"""Canonicalizes a call: checks each argument once, flattens the batch axes, and runs the result as a block."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jds.ops import _dispatch
from jds.ops._arguments import (
    check_arrays,
    check_depthwise,
    check_epilogue,
    check_groups,
    check_one_position,
    check_pair,
    check_skip,
    check_supported,
)
from jds.ops._dispatch import Implementation
from jds.ops._fused_block import Block, Epilogue, Step, name_of
from jds.ops._fused_primitive import run_block
from jds.ops._geometry import Geometry, Padding, canonical_geometry, output_size
from jds.ops._lowering import check_mechanism


class Convolution(NamedTuple):
    """A convolution as the caller specified it.

    Attributes:
      kind: `"depthwise"`, `"pointwise"`, or `"ordinary"`, with any number of groups.
      kernel, epilogue: as the caller passed them.
      prefix: prefix of the caller's argument names, for error messages.
    """

    kind: Literal["ordinary", "depthwise", "pointwise"]
    kernel: Any
    epilogue: Epilogue
    prefix: str = ""


def convolve(
    function: str,
    inputs: Any,
    *convolutions: Convolution,
    strides: int | Sequence[int],
    padding: Padding,
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    precision: Any,
    preferred_element_type: Any,
    implementation: Implementation | None,
) -> jax.Array:
    """Checks the arguments, puts them into canonical form, and runs them as a block.

    Args:
      function: name of the public function, for error messages.
      inputs: `(*batch, *spatial, in_features)`.
      *convolutions: one convolution, or a depthwise convolution followed by a pointwise one.
      strides, padding, input_dilation, kernel_dilation: spatial parameters of the first convolution.
      feature_group_count: number of groups of the first convolution, if it is ordinary.
      precision, preferred_element_type, implementation: options shared by all convolutions.
    """
    _dispatch.check_name(function, implementation)
    first, *rest = convolutions
    name = f"{first.prefix}kernel"
    inputs, kernel = check_arrays(function, inputs, first.kernel, name)
    if first.kind == "pointwise":
        check_one_position(function, kernel, name)
    if first.kind == "depthwise":
        groups = check_depthwise(function, inputs, kernel, name)
    else:
        groups = check_groups(function, inputs, kernel, feature_group_count)
    rank = kernel.ndim - 2
    batch, spatial = inputs.shape[: -rank - 1], inputs.shape[-rank - 1 : -1]
    geometry = canonical_geometry(
        function, spatial, kernel.shape[:-2], strides, padding, input_dilation, kernel_dilation
    )
    images = inputs if len(batch) == 1 else inputs.reshape(math.prod(batch), *spatial, inputs.shape[-1])
    images, geometry = _pad(images, geometry)
    options = {"precision": precision, "preferred_element_type": preferred_element_type}
    step, operands = _step(function, first, kernel, geometry, groups, **options)
    steps = [step]
    for second in rest:
        pointwise_kernel = jnp.asarray(second.kernel)
        check_pair(function, kernel, pointwise_kernel)
        check_one_position(function, pointwise_kernel, f"{second.prefix}kernel")
        step, more = _step(function, second, pointwise_kernel, _of_one_position(rank), 1, **options)
        steps.append(step)
        operands += more
    skip = convolutions[-1].epilogue.skip
    if skip is not None:
        size = output_size(images.shape[1:-1], kernel.shape[:-2], geometry)
        shape = (*size, convolutions[-1].kernel.shape[-1])
        skip = check_skip(function, skip, (*batch, *shape), steps[-1].preferred_element_type or inputs.dtype)
        operands += (skip.reshape(images.shape[0], *shape),)
        steps[-1] = dataclasses.replace(steps[-1], has_skip=True)
    block = Block(tuple(steps), implementation)
    if implementation not in (None, "xla"):
        check_supported(function, implementation, block, images, operands)
    check_mechanism()
    out = run_block(images, *operands, block=block)
    return out if len(batch) == 1 else out.reshape(*batch, *out.shape[1:])


def _step(
    function: str,
    convolution: Convolution,
    kernel: jax.Array,
    geometry: Geometry,
    groups: int,
    *,
    precision: Any,
    preferred_element_type: Any,
) -> tuple[Step, tuple[jax.Array, ...]]:
    """Returns a step and its operands."""
    prefix, epilogue = convolution.prefix, convolution.epilogue
    scale, bias = check_epilogue(function, prefix, epilogue, kernel)
    step = Step(
        geometry=geometry,
        feature_group_count=groups,
        precision=precision,
        preferred_element_type=None if preferred_element_type is None else jnp.dtype(preferred_element_type),
        has_scale=scale is not None,
        has_bias=bias is not None,
        activation=_activation(f"{function}: `{prefix}activation`", epilogue.activation),
        has_skip=False,
    )
    return step, (kernel, *(operand for operand in (scale, bias) if operand is not None))


def _activation(argument: str, activation: Callable | None) -> str | Callable | None:
    """Returns the activation's name or, for an unknown one, a wrapper that also checks the shape of its result."""
    if activation is None:
        return None

    def checked(value: jax.Array) -> Any:
        out = activation(value)
        if jnp.shape(out) != value.shape:
            raise ValueError(f"{argument} must keep the shape, {value.shape}, got {jnp.shape(out)} from {activation!r}")
        return out

    return name_of(activation) or checked


def _pad(images: jax.Array, geometry: Geometry) -> tuple[jax.Array, Geometry]:
    """Applies circular and reflect padding, which leaves only zero padding to the convolution."""
    if geometry.pad_mode == "constant":
        return images, geometry
    padded = jnp.pad(images, [(0, 0), *geometry.padding, (0, 0)], mode=geometry.pad_mode)
    return padded, geometry._replace(padding=((0, 0),) * len(geometry.padding), pad_mode="constant")


def _of_one_position(rank: int) -> Geometry:
    """The geometry of a pointwise convolution."""
    ones = (1,) * rank
    return Geometry(ones, ((0, 0),) * rank, "constant", ones, ones)
