"""The public functions: convolutions, and a drop-in replacement for lax's own."""

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
    inputs: Shaped[ArrayLike, "... in_features"],
    kernel: Shaped[ArrayLike, "... group_features out_features"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    scale: Shaped[ArrayLike, " out_features"] | None = None,
    bias: Shaped[ArrayLike, " out_features"] | None = None,
    activation: Activation | None = None,
    skip: Shaped[ArrayLike, "... out_features"] | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "... out_features"]:
    """Convolution: each output feature sees every input feature of its group.

    With one batch axis and two spatial axes it is
    `lax.conv_general_dilated(inputs, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), ...)`.

    Args:
      inputs: `(*batch, *spatial, in_features)`, with any number of batch axes, including none.
      kernel: `(*kernel_size, in_features // feature_group_count, out_features)`, with the dtype of the inputs. Its rank
        sets the number of spatial axes: 1, 2 or 3.
      strides: step between windows, in positions; one int, or one per axis.
      padding: `"SAME"`, `"SAME_LOWER"`, `"VALID"`, `"CAUSAL"` (1 spatial axis), `"CIRCULAR"`, `"REFLECT"`, or the
        number of positions to add: an int, or one int or (low, high) pair per axis.
      input_dilation: distance between neighbors in the dilated input; if it is not 1, `padding` must be numeric.
      kernel_dilation: distance between neighbors in the dilated kernel.
      feature_group_count: number of groups that the features are split into.
      precision: as in `jax.lax`.
      preferred_element_type: dtype of the result; None for the dtype of the inputs.
      scale, bias, activation: the epilogue, `activation(result * scale + bias)`, fused with the convolution where
        possible; None omits a step. `scale` and `bias` have shape `(out_features,)` and the dtype of the kernel, or
        float32 with a 16-bit kernel. `activation` is an elementwise function, such as `jax.nn.relu`. The fused kernels
        support `jax.nn.relu`, `relu6`, `silu`, `sigmoid`, `hard_silu`, `hard_sigmoid` and `gelu`; any other function
        runs after the convolution.
      skip: an array that is added after the activation, such as the input of a residual block, with the shape and dtype
        of the result; part of the same fused op. None for none.
      implementation: `"xla"`, `"shifted"`, `"native"`, or None to let jds choose (see `select_implementation`).

    Returns:
      `(*batch, *out_spatial, out_features)`. 16-bit inputs accumulate in float32. The epilogue is defined in the dtype
      of the result, or in float32 if scale or bias are float32; when fused it may be computed in float32 and rounded
      once.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not floating-point, two dtypes differ, or the activation is not callable.
      NotImplementedError: the named implementation does not support this case.

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
        Convolution("ordinary", kernel, Epilogue(scale, bias, activation, skip)),
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
    inputs: Shaped[ArrayLike, "... in_features"],
    kernel: Shaped[ArrayLike, "... 1 out_features"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    scale: Shaped[ArrayLike, " out_features"] | None = None,
    bias: Shaped[ArrayLike, " out_features"] | None = None,
    activation: Activation | None = None,
    skip: Shaped[ArrayLike, "... out_features"] | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "... out_features"]:
    """Depthwise convolution: filters each channel separately.

    It is `conv(..., feature_group_count=in_features)`: the first step of a depthwise separable convolution, from
    MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      inputs: `(*batch, *spatial, in_features)`, with any number of batch axes, including none.
      kernel: `(*kernel_size, 1, in_features * channel_multiplier)`, with the dtype of the inputs; output channel
        `c * channel_multiplier + j` is filter `j` of input channel `c`. 1, 2 or 3 spatial axes.
      strides, padding, input_dilation, kernel_dilation, precision, preferred_element_type, scale, bias,
        activation, skip: as in `conv`.
      implementation: `"xla"`, `"shifted"`, `"native"`, or None to let jds choose (see `select_implementation`).

    Returns:
      `(*batch, *out_spatial, in_features * channel_multiplier)`. 16-bit inputs accumulate in float32.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not floating-point, two dtypes differ, or the activation is not callable.
      NotImplementedError: the named implementation does not support this case.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> jds.depthwise_conv(jnp.ones((1, 6, 6, 3)), jnp.ones((3, 3, 1, 3)), padding="VALID").shape
      (1, 4, 4, 3)
    """
    return convolve(
        "depthwise_conv",
        inputs,
        Convolution("depthwise", kernel, Epilogue(scale, bias, activation, skip)),
        strides=strides,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )


def pointwise_conv(
    inputs: Shaped[ArrayLike, "... in_features"],
    kernel: Shaped[ArrayLike, "... in_features out_features"],
    *,
    strides: int | Sequence[int] = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    scale: Shaped[ArrayLike, " out_features"] | None = None,
    bias: Shaped[ArrayLike, " out_features"] | None = None,
    activation: Activation | None = None,
    skip: Shaped[ArrayLike, "... out_features"] | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "... out_features"]:
    """Pointwise (1×1) convolution: mixes the channels at each position.

    It is `conv` with a kernel of one position, in effect `inputs @ kernel`: the second step of a depthwise separable
    convolution, from MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      inputs: `(*batch, *spatial, in_features)`, with any number of batch axes, including none.
      kernel: `(1, ..., 1, in_features, out_features)`, with 1, 2 or 3 leading ones and the dtype of the inputs.
      strides, precision, preferred_element_type, scale, bias,
        activation, skip: as in `conv`.
      implementation: `"xla"`, `"shifted"` (a matrix product), `"native"`, or None to let jds choose.

    Returns:
      `(*batch, *out_spatial, out_features)`. 16-bit inputs accumulate in float32.

    Raises:
      ValueError: shapes or strides do not fit, or the implementation is unknown.
      TypeError: a dtype is not floating-point, two dtypes differ, or the activation is not callable.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> jds.pointwise_conv(jnp.ones((1, 4, 4, 3)), jnp.ones((1, 1, 3, 5))).shape
      (1, 4, 4, 5)
    """
    return convolve(
        "pointwise_conv",
        inputs,
        Convolution("pointwise", kernel, Epilogue(scale, bias, activation, skip)),
        strides=strides,
        padding="VALID",
        precision=precision,
        preferred_element_type=preferred_element_type,
        implementation=implementation,
    )


def separable_conv(
    inputs: Shaped[ArrayLike, "... in_features"],
    depthwise_kernel: Shaped[ArrayLike, "... 1 features"],
    pointwise_kernel: Shaped[ArrayLike, "... features out_features"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    depthwise_scale: Shaped[ArrayLike, " features"] | None = None,
    depthwise_bias: Shaped[ArrayLike, " features"] | None = None,
    depthwise_activation: Activation | None = None,
    pointwise_scale: Shaped[ArrayLike, " out_features"] | None = None,
    pointwise_bias: Shaped[ArrayLike, " out_features"] | None = None,
    pointwise_activation: Activation | None = None,
    skip: Shaped[ArrayLike, "... out_features"] | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "... out_features"]:
    """Depthwise separable convolution: filters each channel, then mixes the channels.

    It is `pointwise_conv(depthwise_conv(inputs, depthwise_kernel, ...), pointwise_kernel)`, and needs only
    `1/out_features + 1/prod(kernel_size)` times as many multiplications as an ordinary convolution of the same shapes.
    From MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      inputs: `(*batch, *spatial, in_features)`, with any number of batch axes, including none.
      depthwise_kernel: `(*kernel_size, 1, in_features * channel_multiplier)`, with the dtype of the inputs.
      pointwise_kernel: `(1, ..., 1, in_features * channel_multiplier, out_features)`, with the dtype of the inputs.
      strides, padding, kernel_dilation: spatial parameters of the depthwise step, as in `conv`.
      precision: precision of both steps, as in `jax.lax`.
      preferred_element_type: dtype of the result and of the values between the steps; None for the dtype of the inputs.
      depthwise_scale, depthwise_bias, depthwise_activation: epilogue of the depthwise step, as in `conv`; `scale` and
        `bias` have shape `(in_features * channel_multiplier,)`.
      pointwise_scale, pointwise_bias, pointwise_activation, skip: epilogue of the pointwise step, as in `conv`.
      implementation: implementation of both steps: `"xla"`, `"shifted"`, `"native"`, or None to let jds choose.

    Returns:
      `(*batch, *out_spatial, out_features)`. 16-bit inputs accumulate in float32 in each step. An epilogue is defined
      in the dtype of its step's result. With an epilogue, programs that only evaluate run the block as one fused op,
      which may be computed tile by tile and rounded once. Under differentiation, the steps run separately.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not floating-point, two dtypes differ, or an activation is not callable.
      NotImplementedError: the named implementation does not support this case.

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
    second = Epilogue(pointwise_scale, pointwise_bias, pointwise_activation, skip)
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
    """`jax.lax.conv_general_dilated`, accelerated: same parameters, results and errors.

    Convolutions that jds can accelerate are lowered to the implementation that it chooses; XLA runs all others. Use it
    as in `flax.nnx.Conv(..., conv_general_dilated=jds.conv_general_dilated)`.

    Args:
      *args, **kwargs: the arguments of `jax.lax.conv_general_dilated`.

    Returns:
      The result of `jax.lax.conv_general_dilated`, up to rounding.

    Raises:
      Any exception that `jax.lax.conv_general_dilated` raises.

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
