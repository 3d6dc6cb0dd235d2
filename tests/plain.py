"""Convolutions and a network written without jds."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def convolve(x, k, strides=1, numbers=("NHWC", "HWIO", "NHWC"), groups=None):
    """A convolution written without jds, depthwise by default."""
    rank = len(numbers[0]) - 2
    groups = x.shape[numbers[0].index("C")] if groups is None else groups
    return lax.conv_general_dilated(
        x, k, (strides,) * rank, "SAME", dimension_numbers=numbers, feature_group_count=groups
    )


def network(x, k):
    """A depthwise and a pointwise convolution that keep the shape."""
    mixing = jnp.broadcast_to(k[:1, :1, 0, :, None], (1, 1, 4, 4))
    return jnp.tanh(convolve(jnp.tanh(convolve(x, k)), mixing, groups=1))


def arrays(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = ((4, 6, 5, 4), (3, 3, 1, 4))
    return tuple(jax.device_put(rng.standard_normal(shape).astype(dtype)) for shape in shapes)


def convolutions(fun, *arguments):
    return jax.jit(fun).lower(*arguments).as_text().count("stablehlo.convolution")
