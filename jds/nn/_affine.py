"""The per-channel scale and bias left after folding batch normalization into a 16-bit convolution."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jds.nn._batch_norm import at_least_float32


class Affine(nnx.Module):
    """Scales and shifts each channel in float32, and rounds once.

    Multiplying the scale into a 16-bit kernel would round its weights again. It is therefore kept separate from the
    kernel, but is still part of the convolution's fused op.

    Args:
      scale: parameter of shape `(features,)`; None for a scale of 1.
      bias: parameter of shape `(features,)`.
      dtype: dtype of the result; None for the common dtype of inputs and parameters.
    """

    def __init__(self, scale: nnx.Param | None, bias: nnx.Param, dtype: DTypeLike | None):
        self.scale = nnx.data(scale)
        self.bias = nnx.data(bias)
        self.dtype = dtype

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the layer to `(..., features)`."""
        scale, bias = self.values(inputs.dtype)
        out = inputs.astype(bias.dtype)
        out = out if scale is None else out * scale.reshape((1,) * (out.ndim - 1) + scale.shape)
        return (out + bias.reshape((1,) * (out.ndim - 1) + bias.shape)).astype(self.result_dtype(inputs.dtype))

    def values(self, dtype: DTypeLike) -> tuple[jax.Array | None, jax.Array]:
        """Returns scale and bias for inputs of a dtype, in at least float32."""
        wide = at_least_float32(dtype)
        return None if self.scale is None else self.scale[...].astype(wide), self.bias[...].astype(wide)

    def part(self, channels: slice) -> "Affine":
        """Returns the layer for some of the channels."""
        scale = None if self.scale is None else nnx.Param(self.scale[...][channels])
        return Affine(scale, nnx.Param(self.bias[...][channels]), self.dtype)

    def result_dtype(self, dtype: DTypeLike) -> jnp.dtype:
        """Returns the dtype of the result for inputs of a dtype."""
        return jnp.dtype(self.dtype or max(jnp.dtype(dtype), self.bias[...].dtype, key=lambda dtype: dtype.itemsize))


def as_epilogue(
    norm: object, bias: jax.Array | None, dtype: DTypeLike
) -> tuple[jax.Array | None, jax.Array | None] | None:
    """Returns a normalization as scale and bias of the fused op of the convolution before it.

    Args:
      norm: the normalization after the convolution, or None.
      bias: bias of the convolution.
      dtype: dtype of the convolution's result.

    Returns:
      Scale and bias, or None if the normalization cannot be part of the fused op.
    """
    if norm is None:
        return None, bias
    if isinstance(norm, Affine) and bias is None and norm.result_dtype(dtype) == dtype:
        return norm.values(dtype)
    return None
