"""Linear layers, squeeze and excitation, and means over positions, each run by a CPU kernel."""

import math

import jax
import jax.numpy as jnp

from jds.ops._fused_layers import Linear, Mean, SqueezeExcite
from jds.ops.native._attributes import activation_attributes, geometry_attributes


def mean(images: jax.Array, *, block: Mean) -> jax.Array:
    """Computes the mean over all positions of `(batch, *spatial, features)`."""
    batch, *spatial, features = images.shape
    out = jax.ShapeDtypeStruct((batch, features), images.dtype)
    means = jax.ffi.ffi_call("jds_mean", out)(images.reshape(batch, math.prod(spatial), features))
    return means.reshape(batch, *(1 for _ in spatial), features)


def linear(inputs: jax.Array, kernel: jax.Array, *bias: jax.Array, block: Linear) -> jax.Array:
    """Computes a linear layer with its epilogue, for `(*batch, in_features)`."""
    *batch, depth = inputs.shape
    features = kernel.shape[-1]
    rows = math.prod(batch)
    out = jax.ShapeDtypeStruct((1, 1, 1, rows, features), inputs.dtype)
    attributes = geometry_attributes([]) | activation_attributes([0], [block.has_bias], [block.activation])
    arrays = (inputs.reshape(1, 1, 1, rows, depth), kernel.reshape(1, 1, 1, depth, features))
    biases = (values.astype(jnp.float32) for values in bias)
    result = jax.ffi.ffi_call("jds_ordinary", out)(*arrays, *biases, has_skip=False, **attributes)
    return result.reshape(*batch, features)


def squeeze_excite(images: jax.Array, *operands: jax.Array, block: SqueezeExcite) -> jax.Array:
    """Computes squeeze and excitation of `(batch, *spatial, features)`."""
    batch, *spatial, features = images.shape
    flat = images.reshape(batch, math.prod(spatial), features)
    arrays = (array.astype(jnp.float32) if array.ndim == 1 else array for array in operands)
    attributes = activation_attributes([0, 0], block.has_bias, block.activations)
    out = jax.ShapeDtypeStruct(flat.shape, images.dtype)
    return jax.ffi.ffi_call("jds_squeeze_excite", out)(flat, *arrays, **attributes).reshape(images.shape)
