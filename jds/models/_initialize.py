"""Initializes the weights of a whole network at once."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.core import Tracer

# Standard deviation of the standard normal distribution truncated to (-2, 2).
_CUT_NORMAL = 0.87962566103423978


def zeros(key: jax.Array, shape: Sequence[int], dtype: Any, out_sharding: Any = None) -> np.ndarray:
    """Initializer for kernels that `draw_kernels` draws later; `jnp.zeros` would compile a program for each shape."""
    del key, out_sharding
    return np.zeros(shape, dtype)


def draw_kernels(network: nnx.Module, key: jax.Array) -> None:
    """Initializes all kernels of a network with `lecun_normal`, using a single random operation.

    Drawing the kernels one by one, as modules do, takes many times as long, because every random operation is compiled
    for its own shape.

    Args:
      network: the network. Its parameters with 2 or more dimensions are drawn, as kernels
        `(*kernel_size, in_features // groups, out_features)`, whose fan-in is the product of all dimensions except the
        last. Other parameters are not changed.
      key: the random key.
    """
    leaves, structure = jax.tree.flatten(nnx.state(network, nnx.Param))
    noise: Any = _noise(key, sum(leaf.size for leaf in leaves if leaf.ndim > 1))
    if not isinstance(noise, Tracer):
        noise = np.asarray(noise)  # in JAX, every slice would compile its own program
    start = 0
    for position, leaf in enumerate(leaves):
        if leaf.ndim > 1:
            scale = math.prod(leaf.shape[:-1]) ** -0.5
            drawn = noise[start : start + leaf.size] * scale
            leaves[position] = jax.device_put(drawn.reshape(leaf.shape).astype(leaf.dtype))
            start += leaf.size
    nnx.update(network, jax.tree.unflatten(structure, leaves))


@functools.partial(jax.jit, static_argnums=1)
def _noise(key: jax.Array, size: int) -> jax.Array:
    """Draws from a normal distribution truncated at two standard deviations and scaled to variance 1."""
    return jax.random.truncated_normal(key, -2, 2, (size,)) / _CUT_NORMAL
