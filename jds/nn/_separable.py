"""The depthwise separable convolution as a Flax NNX module."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes
from jax import lax
from jax.typing import DTypeLike

from jds.nn._apply import ConvStep, apply_separable
from jds.nn._arguments import check_activation, check_features, check_norm
from jds.nn._conv import (
    DepthwiseConv,
    PointwiseConv,
    canonical_kernel_size,
    default_bias_init,
    default_kernel_init,
)
from jds.ops._dispatch import Implementation
from jds.ops._fused_block import Activation
from jds.ops._geometry import Padding

MakeNorm = Callable[..., Callable[[jax.Array], jax.Array]]
"""Makes a normalization: called as `norm(features, rngs=rngs)`, as `nnx.BatchNorm` is."""


class SeparableConv(nnx.Module):
    """Filters each channel, then mixes the channels, with a normalization and an activation after each step.

    The MobileNets block, https://arxiv.org/abs/1704.04861: depthwise, norm, activation, pointwise, norm, activation.
    Without norms, as after `jds.fold_batch_norm`, it is a single call of `jds.separable_conv`.

    Args:
      in_features, out_features: numbers of channels.
      kernel_size: filter size of the depthwise step; an int for 1 spatial axis, or a sequence of 1, 2 or 3 ints.
      strides, padding, kernel_dilation, channel_multiplier: options of the depthwise step, as in `DepthwiseConv`.
      depthwise_norm, pointwise_norm: factories of the normalization after each step, called as
        `norm(features, rngs=rngs)`: `nnx.BatchNorm`, or a `functools.partial` of it; None omits the normalization.
      depthwise_activation, pointwise_activation: functions of an array, or None.
      use_bias: whether each step adds a bias before its normalization.
      dtype, param_dtype, precision, kernel_init, bias_init, promote_dtype, preferred_element_type, implementation,
        rngs, kernel_metadata, bias_metadata: options of both steps, as in `DepthwiseConv`.

    Raises:
      ValueError, TypeError: an argument is invalid.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.SeparableConv(8, 16, (3, 3), depthwise_norm=nnx.BatchNorm, depthwise_activation=jax.nn.relu6,
      ...                              use_bias=False, rngs=nnx.Rngs(0))
      >>> block(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 16)
    """

    foldable_norms: ClassVar[Mapping[str, str]] = {"depthwise_norm": "depthwise", "pointwise_norm": "pointwise"}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        *,
        strides: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        kernel_dilation: int | Sequence[int] = 1,
        channel_multiplier: int = 1,
        depthwise_norm: MakeNorm | None = None,
        depthwise_activation: Activation | None = None,
        pointwise_norm: MakeNorm | None = None,
        pointwise_activation: Activation | None = None,
        use_bias: bool = True,
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
        check_features(
            "SeparableConv",
            in_features=in_features,
            out_features=out_features,
            channel_multiplier=channel_multiplier,
        )
        check_norm("SeparableConv", depthwise_norm=depthwise_norm, pointwise_norm=pointwise_norm)
        activations = {"depthwise_activation": depthwise_activation, "pointwise_activation": pointwise_activation}
        check_activation("SeparableConv", **activations)
        kernel_size = canonical_kernel_size("SeparableConv", kernel_size)
        shared: dict[str, Any] = {
            "use_bias": use_bias,
            "dtype": dtype,
            "param_dtype": param_dtype,
            "precision": precision,
            "kernel_init": kernel_init,
            "bias_init": bias_init,
            "promote_dtype": promote_dtype,
            "preferred_element_type": preferred_element_type,
            "implementation": implementation,
            "rngs": rngs,
            "kernel_metadata": kernel_metadata,
            "bias_metadata": bias_metadata,
        }
        self.depthwise = DepthwiseConv(
            in_features,
            kernel_size,
            strides=strides,
            padding=padding,
            kernel_dilation=kernel_dilation,
            channel_multiplier=channel_multiplier,
            **shared,
        )
        between = self.depthwise.out_features
        self.depthwise_norm = None if depthwise_norm is None else depthwise_norm(between, rngs=rngs)
        self.depthwise_activation = depthwise_activation
        self.pointwise = PointwiseConv(between, out_features, spatial_axes=len(kernel_size), **shared)
        self.pointwise_norm = None if pointwise_norm is None else pointwise_norm(out_features, rngs=rngs)
        self.pointwise_activation = pointwise_activation

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the block: `(*batch, *spatial, in_features)` to `(*batch, *out_spatial, out_features)`."""
        depthwise = ConvStep(self.depthwise, self.depthwise_norm, self.depthwise_activation)
        pointwise = ConvStep(self.pointwise, self.pointwise_norm, self.pointwise_activation)
        return apply_separable(depthwise, pointwise, inputs)
