"""Applies convolutions together with the normalization and the activation after them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jds.nn._affine import Affine, as_epilogue
from jds.nn._conv import DepthwiseConv, OrdinaryConv, PointwiseConv, in_turn, operands
from jds.nn._mixed_conv import MixedConv
from jds.ops._conv import separable_conv
from jds.ops._fused_block import Activation

# Layers that accept the steps after them as arguments. Subclasses are excluded: their `__call__` may do anything.
_FUSING = (DepthwiseConv, PointwiseConv, OrdinaryConv, MixedConv)

# Options that `jds.separable_conv` shares between both convolutions.
_SHARED = ("dtype", "precision", "promote_dtype", "preferred_element_type", "implementation")


class ConvStep(NamedTuple):
    """A convolution with the normalization and the activation after it, either of which may be None."""

    conv: Any
    norm: Callable[[jax.Array], jax.Array] | None
    activation: Activation | None

    def __call__(self, inputs: jax.Array, *, skip: jax.Array | None = None) -> jax.Array:
        """Applies all three, as one fused op where possible; a normalization that is not folded runs separately.

        Args:
          inputs: the input of the convolution.
          skip: an array that is added to the result; None for none.
        """
        if type(self.conv) in _FUSING and (self.norm is None or isinstance(self.norm, Affine)):
            return self.conv(inputs, norm=self.norm, activation=self.activation, skip=skip)
        return in_turn(inputs, *self, skip=skip)


def apply_separable(
    depthwise: ConvStep, pointwise: ConvStep, inputs: jax.Array, *, skip: jax.Array | None = None
) -> jax.Array:
    """Applies a depthwise and a pointwise step, as one call of `jds.separable_conv` where possible.

    This requires both convolutions to be jds's own, with the same options, and any normalizations to be folded. `skip`,
    unless it is None, is added to the result.
    """
    first, second = depthwise.conv, pointwise.conv
    if not _are_one_call(first, second):
        return pointwise(depthwise(inputs), skip=skip)
    images, depthwise_kernel, depthwise_bias = operands(first, inputs)
    _, pointwise_kernel, pointwise_bias = operands(second, inputs)
    depthwise_epilogue = as_epilogue(depthwise.norm, depthwise_bias, depthwise_kernel.dtype)
    pointwise_epilogue = as_epilogue(pointwise.norm, pointwise_bias, pointwise_kernel.dtype)
    if depthwise_epilogue is None or pointwise_epilogue is None:
        return pointwise(depthwise(inputs), skip=skip)
    is_fused = skip is not None and skip.dtype == images.dtype
    out = separable_conv(
        images,
        depthwise_kernel,
        pointwise_kernel,
        strides=first.strides,
        padding=first.padding,
        kernel_dilation=first.kernel_dilation,
        precision=first.precision,
        depthwise_scale=depthwise_epilogue[0],
        depthwise_bias=depthwise_epilogue[1],
        depthwise_activation=depthwise.activation,
        pointwise_scale=pointwise_epilogue[0],
        pointwise_bias=pointwise_epilogue[1],
        pointwise_activation=pointwise.activation,
        skip=skip if is_fused else None,
        implementation=first.implementation,
    )
    return out if is_fused else in_turn(out, skip=skip)


def _are_one_call(depthwise: object, pointwise: object) -> bool:
    """Whether both are jds's layers and agree in the options that `jds.separable_conv` shares."""
    if type(depthwise) is not DepthwiseConv or type(pointwise) is not PointwiseConv:
        return False
    parameters = (depthwise.kernel, depthwise.bias, pointwise.kernel, pointwise.bias)
    return (
        len({parameter.dtype for parameter in parameters if parameter is not None}) == 1
        and depthwise.preferred_element_type is None  # else the pointwise step might compute in another dtype
        and all(getattr(depthwise, name) == getattr(pointwise, name) for name in _SHARED)
        and max(depthwise.input_dilation + pointwise.strides) == 1
    )
