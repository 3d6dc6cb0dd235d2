"""The one way through: checks, flattens the batch axes, brings the arguments into the form of a block, runs it."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jds.ops import dispatch
from jds.ops.block import Block, Epilogue, Step, name_of
from jds.ops.check import check_arrays, check_epilogue, check_features, check_supported
from jds.ops.dispatch import Implementation
from jds.ops.fused import convolution, run_block
from jds.ops.geometry import Geometry, Padding, canonical_geometry
from jds.ops.lowering import check_mechanism


class Pointwise(NamedTuple):
    """The second half of a depthwise separable convolution."""

    kernel: jax.Array
    epilogue: Epilogue


def convolve(
    function: str,
    inputs,
    kernel,
    epilogue: Epilogue,
    *,
    strides: int | Sequence[int],
    padding: Padding,
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    precision,
    preferred_element_type,
    implementation: Implementation | None,
    pointwise: Pointwise | None = None,
) -> jax.Array:
    """Convolves `(*batch, *spatial, in_features)`, once or, with a `pointwise` half, twice.

    Args:
      function: the caller's name, for messages.
      inputs, kernel, epilogue: of the first convolution, as the caller had them.
      strides, padding, input_dilation, kernel_dilation, feature_group_count: of the first convolution.
      precision, preferred_element_type, implementation: of both.
      pointwise: the second convolution, if there is one; its kernel has been checked.
    """
    dispatch.check_name(function, implementation)
    inputs, kernel = check_arrays(function, inputs, kernel)
    feature_group_count = check_features(function, inputs.shape, kernel.shape, feature_group_count)
    rank = kernel.ndim - 2
    spatial = inputs.shape[-rank - 1 : -1]
    geometry = canonical_geometry(
        function, spatial, kernel.shape[:-2], strides, padding, input_dilation, kernel_dilation
    )
    batch = inputs.shape[: -rank - 1]
    images = inputs if len(batch) == 1 else inputs.reshape(math.prod(batch), *spatial, inputs.shape[-1])
    images, geometry = _pad(images, geometry)
    make_step = functools.partial(_step, function, precision=precision, preferred_element_type=preferred_element_type)
    prefix = "" if pointwise is None else "depthwise_"
    first, operands = make_step(prefix, geometry, feature_group_count, kernel, epilogue)
    steps = (first,)
    if pointwise is not None:
        second, more = make_step("pointwise_", _of_one_position(rank), 1, *pointwise)
        steps, operands = (first, second), operands + more
    if implementation not in (None, "xla"):
        check_supported(function, implementation, functools.partial(convolution, step=first), images, kernel)
    check_mechanism()
    out = run_block(images, *operands, block=Block(steps, implementation))
    return out if len(batch) == 1 else out.reshape(*batch, *out.shape[1:])


def _step(
    function: str,
    prefix: str,
    geometry: Geometry,
    groups: int,
    kernel: jax.Array,
    epilogue: Epilogue,
    *,
    precision,
    preferred_element_type,
) -> tuple[Step, tuple[jax.Array, ...]]:
    """Returns a step and its operands."""
    scale, bias = check_epilogue(function, prefix, epilogue, kernel)
    step = Step(
        geometry=geometry,
        feature_group_count=groups,
        precision=precision,
        preferred_element_type=None if preferred_element_type is None else jnp.dtype(preferred_element_type),
        has_scale=scale is not None,
        has_bias=bias is not None,
        activation=_activation(f"{function}: `{prefix}activation`", epilogue.activation),
    )
    return step, (kernel, *(operand for operand in (scale, bias) if operand is not None))


def _activation(argument: str, activation: Callable | None) -> str | Callable | None:
    """Returns the activation's name or, where it has none, a function that checks what it does to the shape."""
    if activation is None:
        return None

    def checked(value: jax.Array) -> Any:
        out = activation(value)
        if jnp.shape(out) != value.shape:
            raise ValueError(f"{argument} must keep the shape, {value.shape}, got {jnp.shape(out)} from {activation!r}")
        return out

    return name_of(activation) or checked


def _pad(images: jax.Array, geometry: Geometry) -> tuple[jax.Array, Geometry]:
    """Pads with copies where the geometry asks for it, so that what is left is padding with zeros."""
    if geometry.pad_mode == "constant":
        return images, geometry
    padded = jnp.pad(images, [(0, 0), *geometry.padding, (0, 0)], mode=geometry.pad_mode)
    return padded, geometry._replace(padding=((0, 0),) * len(geometry.padding), pad_mode="constant")


def _of_one_position(rank: int) -> Geometry:
    """The geometry of a pointwise convolution."""
    ones = (1,) * rank
    return Geometry(ones, ((0, 0),) * rank, "constant", ones, ones)
