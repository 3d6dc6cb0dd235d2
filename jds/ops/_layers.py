"""Linear layers, squeeze and excitation, and means over positions, each as one fused op where possible."""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from jds.ops._fused_block import Activation, name_of
from jds.ops._fused_layers import Linear, Mean, SqueezeExcite
from jds.ops._fused_primitive import run_block


def mean(images: jax.Array) -> jax.Array:
    """Returns the mean over all positions: `(batch, *spatial, features)` to `(batch, 1, …, features)`."""
    return run_block(images, block=Mean())


def linear(
    inputs: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    activation: Activation | None = None,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Returns `activation(inputs @ kernel + bias)`, as one fused op where possible.

    Args:
      inputs: `(*batch, in_features)`.
      kernel: `(in_features, out_features)`, with the dtype of the inputs.
      bias: `(out_features,)`, with the same dtype, or None.
      activation: a function of each element, or None.
      precision: as in `jax.lax`.
    """
    operands = (kernel,) if bias is None else (kernel, bias)
    block = Linear(bias is not None, activation and (name_of(activation) or activation), precision)
    return run_block(inputs, *operands, block=block) if inputs.ndim > 1 else block.compose(inputs, *operands)


def squeeze_excite(images: jax.Array, *layers: Sequence[Any]) -> jax.Array:
    """Multiplies each channel by a gate, as one fused op where possible.

    Args:
      images: `(batch, *spatial, features)`.
      *layers: kernel, bias, activation and precision of the two linear layers, with the dtype of the images.
    """
    operands = [array for kernel, bias, *_ in layers for array in (kernel, bias) if array is not None]
    has_bias: Any = tuple(bias is not None for _, bias, *_ in layers)
    activations: Any = tuple(name_of(activation) or activation for _, _, activation, _ in layers)
    precisions: Any = tuple(precision for *_, precision in layers)
    return run_block(images, *operands, block=SqueezeExcite(has_bias, activations, precisions))
