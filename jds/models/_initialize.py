"""The initial weights of a whole network."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.core import Tracer

# Standard deviation of a normal distribution of variance 1 that is cut off at two standard deviations.
_CUT_NORMAL = 0.87962566103423978


def zeros(key: jax.Array, shape: Sequence[int], dtype: Any, out_sharding: Any = None) -> np.ndarray:
    """An initializer for kernels that `draw_kernels` draws: JAX would compile a program for each shape."""
    del key, out_sharding
    return np.zeros(shape, dtype)


def draw_kernels(network: nnx.Module, key: jax.Array) -> None:
    """Gives every kernel of a network the weights of `lecun_normal`, by one random operation for all of them.

    Drawn one by one, as modules do, the kernels take many times as long to compile: every random operation is compiled
    for its own shape.

    Args:
      network: its parameters of 2 or more dimensions are drawn, as `(*kernel_size, in_features // groups,
        out_features)` with a fan-in of all dimensions but the last; the others are left as they are.
      key: of the random numbers.
    """
    leaves, structure = jax.tree.flatten(nnx.state(network, nnx.Param))
    noise: Any = _noise(key, sum(leaf.size for leaf in leaves if leaf.ndim > 1))
    if not isinstance(noise, Tracer):
        noise = np.asarray(noise)  # JAX would compile a program for each slice
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
    """Draws numbers of variance 1 from a normal distribution that is cut off at two standard deviations."""
    return jax.random.truncated_normal(key, -2, 2, (size,)) / _CUT_NORMAL
