"""The depthwise separable convolution."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Shaped

from jds.ops.block import Activation, Epilogue
from jds.ops.check import check_depthwise, check_pair, check_pointwise
from jds.ops.convolve import Pointwise, convolve
from jds.ops.dispatch import Implementation
from jds.ops.geometry import Padding


def separable_conv(
    inputs: Shaped[ArrayLike, "..."],
    depthwise_kernel: Shaped[ArrayLike, "..."],
    pointwise_kernel: Shaped[ArrayLike, "..."],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    depthwise_scale: Shaped[ArrayLike, "..."] | None = None,
    depthwise_bias: Shaped[ArrayLike, "..."] | None = None,
    depthwise_activation: Activation | None = None,
    pointwise_scale: Shaped[ArrayLike, "..."] | None = None,
    pointwise_bias: Shaped[ArrayLike, "..."] | None = None,
    pointwise_activation: Activation | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "..."]:
    """Depthwise separable convolution: filters each channel, then mixes the channels.

    It is `pointwise_conv(depthwise_conv(inputs, depthwise_kernel, ...), pointwise_kernel)`, and takes
    `1/out_features + 1/prod(kernel_size)` of the multiplications of an ordinary convolution of the same shapes. From
    MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      inputs: `(*batch, *spatial, in_features)`; any number of batch axes, none included.
      depthwise_kernel: `(*kernel_size, 1, in_features * channel_multiplier)`, of the inputs' dtype.
      pointwise_kernel: `(1, ..., 1, in_features * channel_multiplier, out_features)`, of the inputs' dtype.
      strides, padding, kernel_dilation: of the depthwise step, as in `conv`.
      precision: of both steps, as in `jax.lax`.
      preferred_element_type: dtype of the result and of what is between the steps; None for the inputs'.
      depthwise_scale, depthwise_bias, depthwise_activation: what follows the depthwise step, as in `conv`:
        `activation(result * scale + bias)`, with a value for each of `in_features * channel_multiplier` channels.
      pointwise_scale, pointwise_bias, pointwise_activation: what follows the pointwise step.
      implementation: of both steps: `"xla"`, `"shifted"`, `"native"`, or None for the library's choice.

    Returns:
      `(*batch, *out_spatial, out_features)`. Inputs of 16 bits are accumulated in float32 in each step. What follows
      a step is meant in the dtype of its result. With any of it given, the whole is one equation in programs that
      evaluate, which may be computed tile by tile and rounded only once, at its end. Derivatives are the steps'.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not a floating one, or two differ, or an activation is no function.
      NotImplementedError: the implementation that was asked for cannot do this case.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> x, depthwise, pointwise = jnp.ones((1, 6, 6, 3)), jnp.ones((3, 3, 1, 3)), jnp.ones((1, 1, 3, 5))
      >>> jds.separable_conv(x, depthwise, pointwise, padding="VALID").shape
      (1, 4, 4, 5)
      >>> block = jds.separable_conv(x, depthwise, pointwise, depthwise_bias=jnp.ones(3),
      ...                            depthwise_activation=jax.nn.relu6, pointwise_bias=jnp.ones(5))
      >>> float(block.max())  # three channels of 6, and 1
      19.0
    """
    depthwise_kernel, pointwise_kernel = jnp.asarray(depthwise_kernel), jnp.asarray(pointwise_kernel)
    check_pair(depthwise_kernel, pointwise_kernel)
    options: Any = {
        "precision": precision,
        "preferred_element_type": preferred_element_type,
        "implementation": implementation,
    }
    geometry: Any = {"strides": strides, "padding": padding, "kernel_dilation": kernel_dilation}
    first = Epilogue(depthwise_scale, depthwise_bias, depthwise_activation)
    second = Epilogue(pointwise_scale, pointwise_bias, pointwise_activation)
    inputs, depthwise_kernel = check_depthwise("separable_conv", inputs, depthwise_kernel, "depthwise_kernel")
    check_pointwise("separable_conv", pointwise_kernel, "pointwise_kernel")
    call = functools.partial(convolve, "separable_conv", **options)
    geometry["feature_group_count"] = inputs.shape[-1]
    if all(part is None for part in (*first, *second)):
        filtered = call(inputs, depthwise_kernel, first, **geometry)
        return call(filtered, pointwise_kernel.astype(filtered.dtype), second, strides=1, padding="VALID")
    return call(inputs, depthwise_kernel, first, pointwise=Pointwise(pointwise_kernel, second), **geometry)
