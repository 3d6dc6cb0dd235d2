"""Convolutions as Flax NNX modules: depthwise, pointwise, and ordinary."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn import dtypes
from jax import lax
from jax.typing import DTypeLike

from jds.nn._affine import as_epilogue
from jds.nn._arguments import check_features
from jds.ops import _dispatch
from jds.ops._conv import conv, depthwise_conv, pointwise_conv
from jds.ops._dispatch import Implementation
from jds.ops._fused_block import Activation
from jds.ops._geometry import Padding, canonical_padding, canonical_tuple

Norm = Callable[[jax.Array], jax.Array]

# The fan-in of a kernel `(*kernel_size, in_features // groups, out_features)` is `prod(kernel_size)` if it is depthwise
# and `in_features` if it is pointwise: the number of inputs that each output sums.
default_kernel_init = nnx.initializers.lecun_normal()
default_bias_init = nnx.initializers.zeros_init()


class DepthwiseConv(nnx.Module):
    """Convolves each channel with its own filter.

    It is `nnx.Conv(in_features, in_features * channel_multiplier, kernel_size, feature_group_count=in_features)` with
    the same parameters, computed by `jds.depthwise_conv`. Unlike in `nnx.Conv`, `out_features` is derived from
    `channel_multiplier`, and all arguments after `kernel_size` are keyword-only. From MobileNets,
    https://arxiv.org/abs/1704.04861.

    Args:
      in_features: number of input channels.
      kernel_size: size of the filters; an int for 1 spatial axis, or a sequence of 1, 2 or 3 ints.
      strides: step between windows, in positions; an int, or one per axis.
      channel_multiplier: number of filters per channel.
      padding, input_dilation, kernel_dilation, precision, preferred_element_type, implementation: as in
        `jds.depthwise_conv`.
      use_bias: whether to add a bias to each output channel.
      mask: an array that the kernel is multiplied by, of the kernel's shape.
      dtype: dtype of the computation; None for the common dtype of inputs and parameters.
      param_dtype: dtype of the parameters.
      kernel_init, bias_init: initializers.
      promote_dtype: function that promotes inputs, kernel and bias to a common dtype.
      rngs: provides the `params` key.
      kernel_metadata, bias_metadata: metadata of the parameters, such as their sharding.

    Raises:
      ValueError, TypeError: an argument is invalid.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> layer = jds.nn.DepthwiseConv(8, (3, 3), strides=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 16, 16, 8))).shape
      (1, 8, 8, 8)
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: int | Sequence[int],
        *,
        strides: int | Sequence[int] = 1,
        channel_multiplier: int = 1,
        padding: Padding = "SAME",
        input_dilation: int | Sequence[int] = 1,
        kernel_dilation: int | Sequence[int] = 1,
        use_bias: bool = True,
        mask: jax.Array | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: lax.PrecisionLike = None,
        kernel_init: nnx.Initializer = default_kernel_init,
        bias_init: nnx.Initializer = default_bias_init,
        promote_dtype: Callable = dtypes.promote_dtype,
        preferred_element_type: DTypeLike | None = None,
        implementation: Implementation | None = None,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = MappingProxyType({}),
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
    ):
        check_features("DepthwiseConv", in_features=in_features, channel_multiplier=channel_multiplier)
        self.kernel_size = canonical_kernel_size("DepthwiseConv", kernel_size)
        rank = len(self.kernel_size)
        self.strides = canonical_tuple("DepthwiseConv", "strides", strides, rank)
        self.input_dilation = canonical_tuple("DepthwiseConv", "input_dilation", input_dilation, rank)
        self.kernel_dilation = canonical_tuple("DepthwiseConv", "kernel_dilation", kernel_dilation, rank)
        self.padding = canonical_padding("DepthwiseConv", padding, rank)
        _dispatch.check_name("DepthwiseConv", implementation)
        self.in_features = in_features
        self.out_features = in_features * channel_multiplier
        self.channel_multiplier = channel_multiplier
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type
        self.implementation: Implementation | None = implementation
        shape = (*self.kernel_size, 1, self.out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, param_dtype), **kernel_metadata)
        self.bias = nnx.data(make_bias(use_bias, self.out_features, bias_init, rngs, param_dtype, bias_metadata))
        self.mask = nnx.data(check_mask("DepthwiseConv", mask, shape))

    def __call__(
        self,
        inputs: jax.Array,
        *,
        norm: Norm | None = None,
        activation: Activation | None = None,
        skip: jax.Array | None = None,
    ) -> jax.Array:
        """Applies the layer: `(*batch, *spatial, in_features)` to `(*batch, *out_spatial, out_features)`.

        Args:
          inputs: `(*batch, *spatial, in_features)`.
          norm, activation: functions of the result that are applied after it, in the same fused op where possible; None
            for none.
          skip: an array that is added to the result after them; None for none.
        """
        return _apply(
            self, depthwise_conv, ("padding", "input_dilation", "kernel_dilation"), inputs, norm, activation, skip
        )


class PointwiseConv(nnx.Module):
    """Mixes the channels at each position.

    It is `nnx.Conv(in_features, out_features, (1,) * spatial_axes)` with the same parameters, computed by
    `jds.pointwise_conv`; all arguments after `out_features` are keyword-only. From MobileNets,
    https://arxiv.org/abs/1704.04861.

    Args:
      in_features, out_features: numbers of channels.
      strides: step between outputs, in positions; an int, or one per axis.
      spatial_axes: number of spatial axes: 1, 2 or 3.
      use_bias, mask, dtype, param_dtype, precision, kernel_init, bias_init, promote_dtype, preferred_element_type,
        implementation, rngs, kernel_metadata, bias_metadata: as in `DepthwiseConv`.

    Raises:
      ValueError, TypeError: an argument is invalid.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> jds.nn.PointwiseConv(8, 4, rngs=nnx.Rngs(0))(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 4)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        strides: int | Sequence[int] = 1,
        spatial_axes: int = 2,
        use_bias: bool = True,
        mask: jax.Array | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: lax.PrecisionLike = None,
        kernel_init: nnx.Initializer = default_kernel_init,
        bias_init: nnx.Initializer = default_bias_init,
        promote_dtype: Callable = dtypes.promote_dtype,
        preferred_element_type: DTypeLike | None = None,
        implementation: Implementation | None = None,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = MappingProxyType({}),
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
    ):
        check_features("PointwiseConv", in_features=in_features, out_features=out_features)
        if spatial_axes not in (1, 2, 3):
            raise ValueError(f"PointwiseConv: `spatial_axes` must be 1, 2 or 3, got {spatial_axes!r}")
        self.strides = canonical_tuple("PointwiseConv", "strides", strides, spatial_axes)
        _dispatch.check_name("PointwiseConv", implementation)
        self.in_features = in_features
        self.out_features = out_features
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type
        self.implementation: Implementation | None = implementation
        shape = (*(1,) * spatial_axes, in_features, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, param_dtype), **kernel_metadata)
        self.bias = nnx.data(make_bias(use_bias, out_features, bias_init, rngs, param_dtype, bias_metadata))
        self.mask = nnx.data(check_mask("PointwiseConv", mask, shape))

    def __call__(
        self,
        inputs: jax.Array,
        *,
        norm: Norm | None = None,
        activation: Activation | None = None,
        skip: jax.Array | None = None,
    ) -> jax.Array:
        """Applies the layer: `(*batch, *spatial, in_features)` to `(*batch, *out_spatial, out_features)`.

        Args:
          inputs: `(*batch, *spatial, in_features)`.
          norm, activation: functions of the result that are applied after it, in the same fused op where possible; None
            for none.
          skip: an array that is added to the result after them; None for none.
        """
        return _apply(self, pointwise_conv, (), inputs, norm, activation, skip)


class OrdinaryConv(nnx.Conv):
    """`nnx.Conv`, computed by `jds.conv`.

    Args:
      *args, **options: as in `nnx.Conv`.
      implementation: as in `jds.conv`.
    """

    def __init__(self, *args: Any, implementation: Implementation | None = None, **options: Any):
        _dispatch.check_name("OrdinaryConv", implementation)
        super().__init__(*args, **options)
        self.implementation: Implementation | None = implementation

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: jax.Array,
        *,
        norm: Norm | None = None,
        activation: Activation | None = None,
        skip: jax.Array | None = None,
    ) -> jax.Array:
        """Applies the layer; `norm`, `activation` and `skip` as in `DepthwiseConv`."""
        options = ("padding", "input_dilation", "kernel_dilation", "feature_group_count")
        return _apply(self, conv, options, inputs, norm, activation, skip)


# Options that all layers have, under the names of their functions.
_OPTIONS = ("strides", "precision", "preferred_element_type", "implementation")


def _apply(
    layer: Any,
    function: Callable[..., jax.Array],
    options: tuple[str, ...],
    inputs: jax.Array,
    norm: Norm | None,
    activation: Activation | None,
    skip: jax.Array | None,
) -> jax.Array:
    """Applies a layer and the steps after it, as one fused op unless there is a normalization that is not folded."""
    images, kernel, bias = operands(layer, inputs)
    epilogue = as_epilogue(norm, bias, kernel.dtype)
    convolve = functools.partial(function, **{name: getattr(layer, name) for name in (*_OPTIONS, *options)})
    if epilogue is None:
        return in_turn(convolve(images, kernel, bias=bias), norm, activation, skip=skip)
    scale, bias = epilogue
    is_fused = skip is not None and skip.dtype == (layer.preferred_element_type or images.dtype)
    out = convolve(images, kernel, scale=scale, bias=bias, activation=activation, skip=skip if is_fused else None)
    return out if is_fused else in_turn(out, skip=skip)


def in_turn(
    inputs: jax.Array, *steps: Callable[[jax.Array], jax.Array] | None, skip: jax.Array | None = None
) -> jax.Array:
    """Applies steps one after another, except those that are None, and adds `skip` if it is not None."""
    for step in steps:
        inputs = inputs if step is None else step(inputs)
    return inputs if skip is None else skip + inputs


def canonical_kernel_size(module: str, kernel_size: int | Sequence[int]) -> tuple[int, ...]:
    """Returns the kernel size as a tuple of 1, 2 or 3 positive ints."""
    rank = 1 if not isinstance(kernel_size, Sequence) else len(kernel_size)
    if rank not in (1, 2, 3):
        raise ValueError(f"{module}: `kernel_size` must have 1, 2 or 3 entries, got {kernel_size!r}")
    return canonical_tuple(module, "kernel_size", kernel_size, rank)


def make_bias(use_bias, features: int, bias_init, rngs: nnx.Rngs, param_dtype, metadata) -> nnx.Param | None:
    """Returns the bias parameter, or None without a bias."""
    return nnx.Param(bias_init(rngs.params(), (features,), param_dtype), **metadata) if use_bias else None


def check_mask(module: str, mask: jax.Array | None, shape: tuple[int, ...]) -> jax.Array | None:
    """Returns the mask, or raises ValueError if it does not have the kernel's shape."""
    if mask is not None and np.shape(mask) != shape:
        raise ValueError(f"{module}: `mask` must have the kernel's shape {shape}, got {np.shape(mask)}")
    return None if mask is None else jnp.asarray(mask)


def operands(module: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns inputs, masked kernel and bias in the dtype of the computation."""
    kernel = module.kernel[...]
    if module.mask is not None:
        kernel = kernel * module.mask.astype(kernel.dtype)
    bias = None if module.bias is None else module.bias[...]
    return module.promote_dtype((inputs, kernel, bias), dtype=module.dtype)
