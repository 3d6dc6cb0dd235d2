"""Negative padding as a slice.

If an axis has negative padding before it and positive padding after it, XLA's convolution on the CPU reads past the end
of the input (https://github.com/openxla/xla/issues/48713). Cropping the axis first leaves it without negative low
padding.
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
    """Computes a convolution equation on a cropped input, with the padding adjusted to match.

    Args:
      lhs, rhs: the operands of `lax.conv_general_dilated`.
      **params: the parameters of `conv_general_dilated_p`.
    """
    starts, padding = [0] * lhs.ndim, []
    for dimension, (low, high), dilation in zip(
        params["dimension_numbers"].lhs_spec[2:], params["padding"], params["lhs_dilation"], strict=True
    ):
        # If the crop ends within a gap of the dilated input, some of the gap's zeros remain.
        starts[dimension] = -(min(low, 0) // dilation)
        padding.append((low + starts[dimension] * dilation, high))
    if any(start >= size for start, size in zip(starts, lhs.shape, strict=True)):  # only padding remains
        like = jax.eval_shape(functools.partial(primitives.conv_general_dilated_p.bind, **params), lhs, rhs)
        return jnp.zeros(like.shape, like.dtype)
    cropped = lax.slice(lhs, starts, lhs.shape)
    return primitives.conv_general_dilated_p.bind(cropped, rhs, **{**params, "padding": tuple(padding)})
