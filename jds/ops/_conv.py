"""The convolutions, and the drop-in for lax's own."""

import functools
from collections.abc import Sequence

from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Shaped

from jds.ops._canonical import Convolution, convolve
from jds.ops._dispatch import Implementation
from jds.ops._fused_block import Activation, Epilogue
from jds.ops._geometry import Padding
from jds.ops._lowering import check_mechanism, mark


def conv(
    inputs: Shaped[ArrayLike, "..."],
    kernel: Shaped[ArrayLike, "..."],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    scale: Shaped[ArrayLike, "..."] | None = None,
    bias: Shaped[ArrayLike, "..."] | None = None,
    activation: Activation | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "..."]:
    """Convolves: every output feature sees every input feature of its group.

    On shapes that need no broadcasting it is
    `lax.conv_general_dilated(inputs, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), ...)`.

    Args:
      inputs: `(*batch, *spatial, in_features)`; any number of batch axes, none included.
      kernel: `(*kernel_size, in_features // feature_group_count, out_features)`, of the inputs' dtype. Its rank says
        how many spatial axes there are: 1, 2 or 3.
      strides: positions between windows; an int for all axes, or one for each.
      padding: `"SAME"`, `"SAME_LOWER"`, `"VALID"`, `"CAUSAL"` (1 spatial axis), `"CIRCULAR"`, `"REFLECT"`, or
        positions to add: an int, or for each axis an int or a pair (before, after).
      input_dilation: distance of neighbours in the dilated input; where it is not 1, padding is given as numbers.
      kernel_dilation: distance of neighbours in the dilated kernel.
      feature_group_count: number of groups that the features are cut into.
      precision: as in `jax.lax`.
      preferred_element_type: dtype of the result; None for the inputs'.
      scale, bias, activation: what follows the convolution, `activation(result * scale + bias)`, in one equation that
        may be computed as a whole; None for none. `scale` and `bias` have shape `(out_features,)` and the kernel's
        dtype, or float32 beside a kernel of 16 bits; `activation` is an elementwise function, such as `jax.nn.relu`.
        (One that jds does not know by name is called as it is, after the convolution.)
      implementation: `"xla"`, `"shifted"`, `"native"`, or None for the library's choice (see `select_implementation`).

    Returns:
      `(*batch, *out_spatial, out_features)`. Inputs of 16 bits are accumulated in float32. What follows the
      convolution is meant in the dtype of the result, or in float32 if scale or bias are; computed as a whole, it may
      be rounded only once, at its end.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not a floating one, or two differ, or the activation is no function.
      NotImplementedError: the implementation that was asked for cannot do this case.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> x, kernel = jnp.ones((1, 6, 6, 3)), jnp.ones((3, 3, 3, 5))
      >>> jds.conv(x, kernel, padding="VALID").shape
      (1, 4, 4, 5)
      >>> float(jds.conv(x, kernel, bias=-28 * jnp.ones(5), activation=jax.nn.relu).max())
      0.0
    """
    return convolve(
        "conv",
        inputs,
        Convolution("ordinary", kernel, Epilogue(scale, bias, activation)),
        strides=strides,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )


def depthwise_conv(
    inputs: Shaped[ArrayLike, "..."],
    kernel: Shaped[ArrayLike, "..."],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    scale: Shaped[ArrayLike, "..."] | None = None,
    bias: Shaped[ArrayLike, "..."] | None = None,
    activation: Activation | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "..."]:
    """Convolves each channel with a filter of its own.

    It is `conv(..., feature_group_count=in_features)`: the first half of a depthwise separable convolution, from
    MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      inputs: `(*batch, *spatial, in_features)`; any number of batch axes, none included.
      kernel: `(*kernel_size, 1, in_features * channel_multiplier)`, of the inputs' dtype; output channel
        `c * channel_multiplier + j` is filter `j` of input channel `c`. 1, 2 or 3 spatial axes.
      strides, padding, input_dilation, kernel_dilation, precision, preferred_element_type, scale, bias,
        activation: as in `conv`.
      implementation: `"xla"`, `"shifted"`, `"native"`, or None for the library's choice (see `select_implementation`).

    Returns:
      `(*batch, *out_spatial, in_features * channel_multiplier)`. Inputs of 16 bits are accumulated in float32.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not a floating one, or two differ, or the activation is no function.
      NotImplementedError: the implementation that was asked for cannot do this case.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> jds.depthwise_conv(jnp.ones((1, 6, 6, 3)), jnp.ones((3, 3, 1, 3)), padding="VALID").shape
      (1, 4, 4, 3)
    """
    return convolve(
        "depthwise_conv",
        inputs,
        Convolution("depthwise", kernel, Epilogue(scale, bias, activation)),
        strides=strides,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )


def pointwise_conv(
    inputs: Shaped[ArrayLike, "..."],
    kernel: Shaped[ArrayLike, "..."],
    *,
    strides: int | Sequence[int] = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    scale: Shaped[ArrayLike, "..."] | None = None,
    bias: Shaped[ArrayLike, "..."] | None = None,
    activation: Activation | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "..."]:
    """Mixes the channels at each position: a convolution with a kernel of one position.

    It is `conv` with such a kernel, and in effect `inputs @ kernel`: the second half of a depthwise separable
    convolution, from MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      inputs: `(*batch, *spatial, in_features)`; any number of batch axes, none included.
      kernel: `(1, ..., 1, in_features, out_features)`, of the inputs' dtype, with 1, 2 or 3 leading ones.
      strides, precision, preferred_element_type, scale, bias,
        activation: as in `conv`.
      implementation: `"xla"`, `"shifted"` (a matrix product), or None for the library's choice.

    Returns:
      `(*batch, *out_spatial, out_features)`. Inputs of 16 bits are accumulated in float32.

    Raises:
      ValueError: shapes or strides do not fit, or the implementation is unknown.
      TypeError: a dtype is not a floating one, or two differ, or the activation is no function.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> jds.pointwise_conv(jnp.ones((1, 4, 4, 3)), jnp.ones((1, 1, 3, 5))).shape
      (1, 4, 4, 5)
    """
    return convolve(
        "pointwise_conv",
        inputs,
        Convolution("pointwise", kernel, Epilogue(scale, bias, activation)),
        strides=strides,
        padding="VALID",
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )


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
    first = Epilogue(depthwise_scale, depthwise_bias, depthwise_activation)
    second = Epilogue(pointwise_scale, pointwise_bias, pointwise_activation)
    return convolve(
        "separable_conv",
        inputs,
        Convolution("depthwise", depthwise_kernel, first, "depthwise_"),
        Convolution("pointwise", pointwise_kernel, second, "pointwise_"),
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )


@functools.wraps(lax.conv_general_dilated, assigned=("__annotations__",), updated=())
def conv_general_dilated(*args, **kwargs) -> Array:
    """`jax.lax.conv_general_dilated`, accelerated: the same parameters, results and errors.

    Each convolution of a form that jds knows is lowered by the library's choice of implementation; lax's own stands
    everywhere else. It is what `flax.nnx.Conv(..., conv_general_dilated=jds.conv_general_dilated)` expects.

    Args:
      *args, **kwargs: as `jax.lax.conv_general_dilated` has them.

    Returns:
      What `jax.lax.conv_general_dilated` returns, up to rounding.

    Raises:
      What `jax.lax.conv_general_dilated` raises.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> layer = nnx.Conv(8, 8, (3, 3), feature_group_count=8, conv_general_dilated=jds.conv_general_dilated,
      ...                  rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 8)
    """
    check_mechanism()
    with mark():
        return lax.conv_general_dilated(*args, **kwargs)
