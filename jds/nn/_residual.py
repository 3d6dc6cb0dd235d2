"""Skip connections with stochastic depth, and per-channel scales."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jds.nn._arguments import check_share


class Skip(nnx.Module):
    """Adds a block's inputs to its result; in training, drops the result of some examples.

    Stochastic depth is from https://arxiv.org/abs/1603.09382. Results that are kept are scaled up during training, and
    evaluation needs no scaling.

    Args:
      rate: drop rate of the result.
      rngs: provides the `dropout` key, unless the rate is 0.
    """

    def __init__(self, rate: float = 0.0, *, rngs: nnx.Rngs):
        check_share("Skip", drop_path=rate)
        self.dropout = nnx.data(nnx.Dropout(rate, broadcast_dims=(1, 2, 3), rngs=rngs) if rate else None)

    def __call__(self, result: jax.Array, inputs: jax.Array) -> jax.Array:
        """Adds `inputs` to `result`, both `(batch, height, width, features)`."""
        return inputs + (result if self.dropout is None else self.dropout(result))

    @property
    def is_plain(self) -> bool:
        """Whether it only adds, as in evaluation."""
        return self.dropout is None or bool(self.dropout.deterministic)


def with_skip(skip: Skip | None, block: Callable[[jax.Array | None], jax.Array], inputs: jax.Array) -> jax.Array:
    """Applies a block and its skip connection, as one fused op where possible.

    Args:
      skip: the skip connection, or None.
      block: function of an array that it adds to its result, or of None.
      inputs: the inputs of the block.
    """
    if skip is None:
        return block(None)
    return block(inputs) if skip.is_plain else skip(block(None), inputs)


class LayerScale(nnx.Module):
    """Multiplies each channel by a parameter.

    From Going deeper with Image Transformers, https://arxiv.org/abs/2103.17239.

    Args:
      features: number of channels.
      initial: initial value of the parameters.
      param_dtype: dtype of the parameters.
    """

    def __init__(self, features: int, initial: float, *, param_dtype: DTypeLike = jnp.float32):
        self.scale = nnx.Param(jnp.full((features,), initial, param_dtype))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the layer to `(..., features)`."""
        scale = self.scale[...].astype(inputs.dtype)
        return inputs * scale.reshape((1,) * (inputs.ndim - 1) + scale.shape)
