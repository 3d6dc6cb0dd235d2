"""A depthwise and a pointwise convolution as one equation, where that is what they are."""

import jax

from jds.nn.conv import DepthwiseConv, PointwiseConv, operands
from jds.ops.block import Activation
from jds.ops.separable import separable_conv

# Settings that `separable_conv` has once for both.
_SHARED = ("dtype", "precision", "promote_dtype", "preferred_element_type", "implementation")


def are_one_call(depthwise: object, pointwise: object) -> bool:
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


def at_once(
    depthwise: DepthwiseConv,
    pointwise: PointwiseConv,
    inputs: jax.Array,
    depthwise_activation: Activation | None,
    pointwise_activation: Activation | None,
) -> jax.Array:
    """Applies both, each with its bias and its activation."""
    inputs, depthwise_kernel, depthwise_bias = operands(depthwise, inputs)
    _, pointwise_kernel, pointwise_bias = operands(pointwise, inputs)
    return separable_conv(
        inputs,
        depthwise_kernel,
        pointwise_kernel,
        strides=depthwise.strides,
        padding=depthwise.padding,
        kernel_dilation=depthwise.kernel_dilation,
        precision=depthwise.precision,
        depthwise_bias=depthwise_bias,
        depthwise_activation=depthwise_activation,
        pointwise_bias=pointwise_bias,
        pointwise_activation=pointwise_activation,
        implementation=depthwise.implementation,
    )
