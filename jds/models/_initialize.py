"""The initial weights of a whole network."""

import math

import jax
from flax import nnx

# Standard deviation of a normal distribution of variance 1 that is cut off at two standard deviations.
_CUT_NORMAL = 0.87962566103423978


def draw_kernels(network: nnx.Module, rngs: nnx.Rngs) -> None:
    """Gives every kernel of a network the weights of `lecun_normal`, by one random operation for all of them.

    Drawn one by one, as modules do, the kernels take many times as long to compile: every random operation is compiled
    for its own shape.

    Args:
      network: its parameters of 2 or more dimensions are drawn, as `(*kernel_size, in_features // groups,
        out_features)` with a fan-in of all dimensions but the last; the others are left as they are.
      rngs: provides the `params` key.
    """
    leaves, structure = jax.tree.flatten(nnx.state(network, nnx.Param))
    numbers = sum(leaf.size for leaf in leaves if leaf.ndim > 1)
    noise = jax.random.truncated_normal(rngs.params(), -2, 2, (numbers,)) / _CUT_NORMAL
    start = 0
    for position, leaf in enumerate(leaves):
        if leaf.ndim > 1:
            scale = math.prod(leaf.shape[:-1]) ** -0.5
            drawn = noise[start : start + leaf.size] * scale
            leaves[position] = drawn.reshape(leaf.shape).astype(leaf.dtype)
            start += leaf.size
    nnx.update(network, jax.tree.unflatten(structure, leaves))
