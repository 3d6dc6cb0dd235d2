"""A depthwise and a pointwise convolution as one equation, where that is what they are."""

from typing import Any, NamedTuple

import jax

from jds.nn._affine import as_epilogue
from jds.nn._conv import DepthwiseConv, PointwiseConv, operands
from jds.ops._conv import separable_conv
from jds.ops._fused_block import Activation

# Settings that `separable_conv` has once for both.
_SHARED = ("dtype", "precision", "promote_dtype", "preferred_element_type", "implementation")


class Half(NamedTuple):
    """A convolution, and what follows it."""

    conv: Any
    norm: Any
    activation: Activation | None


def at_once(depthwise: Half, pointwise: Half, inputs: jax.Array) -> jax.Array | None:
    """Applies both as one equation; None if they are not one, as before their normalizations are folded."""
    first, second = depthwise.conv, pointwise.conv
    if not _are_one_call(first, second):
        return None
    inputs, depthwise_kernel, depthwise_bias = operands(first, inputs)
    _, pointwise_kernel, pointwise_bias = operands(second, inputs)
    depthwise_ending = as_epilogue(depthwise.norm, depthwise_bias, depthwise_kernel.dtype)
    pointwise_ending = as_epilogue(pointwise.norm, pointwise_bias, pointwise_kernel.dtype)
    if depthwise_ending is None or pointwise_ending is None:
        return None
    return separable_conv(
        inputs,
        depthwise_kernel,
        pointwise_kernel,
        strides=first.strides,
        padding=first.padding,
        kernel_dilation=first.kernel_dilation,
        precision=first.precision,
        depthwise_scale=depthwise_ending[0],
        depthwise_bias=depthwise_ending[1],
        depthwise_activation=depthwise.activation,
        pointwise_scale=pointwise_ending[0],
        pointwise_bias=pointwise_ending[1],
        pointwise_activation=pointwise.activation,
        implementation=first.implementation,
    )


def _are_one_call(depthwise: object, pointwise: object) -> bool:
    """Whether both are modules of jds with settings that `jds.separable_conv` can have for both."""
    if type(depthwise) is not DepthwiseConv or type(pointwise) is not PointwiseConv:
        return False
    parameters = (depthwise.kernel, depthwise.bias, pointwise.kernel, pointwise.bias)
    return (
        len({parameter.dtype for parameter in parameters if parameter is not None}) == 1
        and depthwise.preferred_element_type is None  # else the pointwise half might compute in another dtype
        and all(getattr(depthwise, name) == getattr(pointwise, name) for name in _SHARED)
        and max(depthwise.input_dilation + pointwise.strides) == 1
    )
