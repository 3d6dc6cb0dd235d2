"""The convolutions: check, bring into canonical form, call `lax.conv_general_dilated` under the mark."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Shaped

from jds.ops import dispatch
from jds.ops.check import check_arrays, check_features, check_pair, check_supported
from jds.ops.dispatch import Implementation
from jds.ops.geometry import Padding, canonical_geometry
from jds.ops.lowering import check_mechanism, mark


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
      implementation: `"xla"`, `"shifted"`, `"native"`, or None for the library's choice (see `select_implementation`).

    Returns:
      `(*batch, *out_spatial, out_features)`. Inputs of 16 bits are accumulated in float32.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not a floating one, or the two differ.
      NotImplementedError: the implementation that was asked for cannot do this case.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> jds.conv(jnp.ones((1, 6, 6, 3)), jnp.ones((3, 3, 3, 5)), padding="VALID").shape
      (1, 4, 4, 5)
    """
    return _convolve(
        "conv",
        inputs,
        kernel,
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
    implementation: Implementation | None = None,
) -> Float[Array, "..."]:
    """Convolves each channel with a filter of its own.

    It is `conv(..., feature_group_count=in_features)`: the first half of a depthwise separable convolution, from
    MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      inputs: `(*batch, *spatial, in_features)`; any number of batch axes, none included.
      kernel: `(*kernel_size, 1, in_features * channel_multiplier)`, of the inputs' dtype; output channel
        `c * channel_multiplier + j` is filter `j` of input channel `c`. 1, 2 or 3 spatial axes.
      strides, padding, input_dilation, kernel_dilation, precision, preferred_element_type: as in `conv`.
      implementation: `"xla"`, `"shifted"`, `"native"`, or None for the library's choice (see `select_implementation`).

    Returns:
      `(*batch, *out_spatial, in_features * channel_multiplier)`. Inputs of 16 bits are accumulated in float32.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not a floating one, or the two differ.
      NotImplementedError: the implementation that was asked for cannot do this case.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> jds.depthwise_conv(jnp.ones((1, 6, 6, 3)), jnp.ones((3, 3, 1, 3)), padding="VALID").shape
      (1, 4, 4, 3)
    """
    inputs, kernel = check_arrays("depthwise_conv", inputs, kernel)
    features = inputs.shape[-1]
    if kernel.shape[-2] != 1 or features < 1 or kernel.shape[-1] % features:
        raise ValueError(
            "depthwise_conv: `kernel` must have shape (*kernel_size, 1, in_features * channel_multiplier), got "
            f"{kernel.shape} for in_features={features} of inputs {inputs.shape}"
        )
    return _convolve(
        "depthwise_conv",
        inputs,
        kernel,
        strides=strides,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        feature_group_count=features,
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
    implementation: Implementation | None = None,
) -> Float[Array, "..."]:
    """Mixes the channels at each position: a convolution with a kernel of one position.

    It is `conv` with such a kernel, and in effect `inputs @ kernel`: the second half of a depthwise separable
    convolution, from MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      inputs: `(*batch, *spatial, in_features)`; any number of batch axes, none included.
      kernel: `(1, ..., 1, in_features, out_features)`, of the inputs' dtype, with 1, 2 or 3 leading ones.
      strides, precision, preferred_element_type: as in `conv`.
      implementation: `"xla"`, `"shifted"` (a matrix product), or None for the library's choice.

    Returns:
      `(*batch, *out_spatial, out_features)`. Inputs of 16 bits are accumulated in float32.

    Raises:
      ValueError: shapes or strides do not fit, or the implementation is unknown.
      TypeError: a dtype is not a floating one, or the two differ.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> jds.pointwise_conv(jnp.ones((1, 4, 4, 3)), jnp.ones((1, 1, 3, 5))).shape
      (1, 4, 4, 5)
    """
    inputs, kernel = check_arrays("pointwise_conv", inputs, kernel)
    if any(size != 1 for size in kernel.shape[:-2]):
        raise ValueError(
            f"pointwise_conv: `kernel` must have one position, shape (1, ..., 1, in_features, out_features), got "
            f"{kernel.shape}; use `conv` for larger kernels"
        )
    return _convolve(
        "pointwise_conv",
        inputs,
        kernel,
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
      implementation: of both steps: `"xla"`, `"shifted"`, `"native"`, or None for the library's choice.

    Returns:
      `(*batch, *out_spatial, out_features)`. Inputs of 16 bits are accumulated in float32 in each step.

    Raises:
      ValueError: shapes, strides, padding or dilation do not fit, or the implementation is unknown.
      TypeError: a dtype is not a floating one, or two differ.
      NotImplementedError: the implementation that was asked for cannot do this case.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> x = jnp.ones((1, 6, 6, 3))
      >>> jds.separable_conv(x, jnp.ones((3, 3, 1, 3)), jnp.ones((1, 1, 3, 5)), padding="VALID").shape
      (1, 4, 4, 5)
    """
    depthwise_kernel, pointwise_kernel = jnp.asarray(depthwise_kernel), jnp.asarray(pointwise_kernel)
    check_pair(depthwise_kernel, pointwise_kernel)
    options: Any = {
        "precision": precision,
        "preferred_element_type": preferred_element_type,
        "implementation": implementation,
    }
    filtered = depthwise_conv(
        inputs, depthwise_kernel, strides=strides, padding=padding, kernel_dilation=kernel_dilation, **options
    )
    return pointwise_conv(filtered, pointwise_kernel.astype(filtered.dtype), **options)


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


def _convolve(
    function: str,
    inputs,
    kernel,
    *,
    strides: int | Sequence[int],
    padding: Padding,
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    precision,
    preferred_element_type,
    implementation: Implementation | None,
) -> jax.Array:
    """The one way through: checks, flattens the batch axes, calls lax's convolution under the mark."""
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
    pads = geometry.padding
    if geometry.pad_mode != "constant":
        images = jnp.pad(images, [(0, 0), *pads, (0, 0)], mode=geometry.pad_mode)
        pads = ((0, 0),) * rank
    call = functools.partial(
        lax.conv_general_dilated,
        window_strides=geometry.strides,
        padding=pads,
        lhs_dilation=geometry.input_dilation,
        rhs_dilation=geometry.kernel_dilation,
        dimension_numbers=_channels_last(rank),
        feature_group_count=feature_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    if implementation not in (None, "xla"):
        check_supported(function, implementation, call, images, kernel)
    check_mechanism()
    with mark(implementation):
        out = call(images, kernel)
    return out if len(batch) == 1 else out.reshape(*batch, *out.shape[1:])


def _channels_last(rank: int) -> lax.ConvDimensionNumbers:
    spatial = range(rank)
    images = (0, rank + 1, *(axis + 1 for axis in spatial))
    return lax.ConvDimensionNumbers(images, (rank + 1, rank, *spatial), images)
