"""Negative padding as a slice.

Where an axis has negative padding before it and positive padding after it, XLA's convolution on the CPU reads beyond
the input (https://github.com/openxla/xla/issues/48713). Cropped first, the axis has padding that is not negative.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import primitives


def is_misread(params: Mapping[str, Any]) -> bool:
    """Whether XLA would compute a convolution equation with these parameters wrongly."""
    return any(low < 0 < high for low, high in params["padding"])


def convolve_cropped(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Computes a convolution equation by the same equation of a cropped input.

    Args:
      lhs, rhs: the operands of `lax.conv_general_dilated`.
      **params: its parameters, as `conv_general_dilated_p` has them.
    """
    starts, padding = [0] * lhs.ndim, []
    for dimension, (low, high), dilation in zip(
        params["dimension_numbers"].lhs_spec[2:], params["padding"], params["lhs_dilation"], strict=True
    ):
        # Cropping within a gap of the dilated input leaves some of its zeros.
        starts[dimension] = -(min(low, 0) // dilation)
        padding.append((low + starts[dimension] * dilation, high))
    if any(start >= size for start, size in zip(starts, lhs.shape, strict=True)):  # padding is all that is left
        like = jax.eval_shape(functools.partial(primitives.conv_general_dilated_p.bind, **params), lhs, rhs)
        return jnp.zeros(like.shape, like.dtype)
    cropped = lax.slice(lhs, starts, lhs.shape)
    return primitives.conv_general_dilated_p.bind(cropped, rhs, **{**params, "padding": tuple(padding)})
