"""What classifies the last feature map: its mean, and linear layers, each as one fused op where possible."""

import jax
from flax import nnx
from jax import lax

from jds.nn._conv import in_turn
from jds.ops._fused_block import Activation
from jds.ops._layers import linear, mean


class Linear(nnx.Linear):
    """`nnx.Linear` with an activation in the same fused op.

    It has the arguments and parameters of `nnx.Linear`.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> layer = jds.nn.Linear(8, 3, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 8)), activation=jax.nn.relu).shape
      (2, 3)
    """

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, inputs: jax.Array, *, activation: Activation | None = None
    ) -> jax.Array:
        """Applies the layer to `(*batch, in_features)`, and then the activation, if there is one."""
        if not self.is_plain:
            return in_turn(super().__call__(inputs), activation)
        inputs, kernel, bias = self.operands(inputs)
        return linear(inputs, kernel, bias, activation=activation, precision=self.precision)

    @property
    def is_plain(self) -> bool:
        """Whether it computes a plain product, so that it may be part of a fused op."""
        return self.dot_general is lax.dot_general and self.preferred_element_type is None

    def operands(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """Returns inputs, kernel and bias in the dtype of the computation."""
        bias = None if self.bias is None else self.bias[...]
        return self.promote_dtype((inputs, self.kernel[...], bias), dtype=self.dtype)


def global_mean(images: jax.Array) -> jax.Array:
    """Computes the mean of each channel over all positions.

    Args:
      images: `(batch, *spatial, features)`.

    Returns:
      `(batch, 1, …, features)`, with the dtype of the images.

    Raises:
      ValueError: the images have fewer than three axes.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> jds.nn.global_mean(jnp.ones((2, 7, 7, 8))).shape
      (2, 1, 1, 8)
    """
    if images.ndim < 3:
        raise ValueError(f"global_mean: `images` must have shape (batch, *spatial, features), got {images.shape}")
    return mean(images)
