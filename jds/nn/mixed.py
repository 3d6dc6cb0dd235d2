"""Convolutions with filters of several sizes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class MixedConv(nnx.Module):
    """Shares the channels out among convolutions with filters of several sizes.

    From MixNet, https://arxiv.org/abs/1907.09595. The channels are cut into as many equal parts as there are sizes;
    what remains goes to the first.

    Args:
      in_features, out_features: numbers of channels.
      kernel_sizes: one for each part.
      make: makes a part, called as `make(in_features, out_features, kernel_size)`.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0)
      >>> layer = jds.nn.MixedConv(8, 8, (3, 5), lambda n, _, size: jds.nn.DepthwiseConv(n, (size, size), rngs=rngs))
      >>> layer(jnp.ones((1, 4, 4, 8))).shape
      (1, 4, 4, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_sizes: Sequence[int],
        make: Callable[[int, int, int], nnx.Module],
    ):
        self.in_features, self.out_features = in_features, out_features
        sizes_in, sizes_out = (shares(count, len(kernel_sizes)) for count in (in_features, out_features))
        self.starts = tuple(sum(sizes_in[:part]) for part in range(1, len(sizes_in)))
        parts = zip(sizes_in, sizes_out, kernel_sizes, strict=True)
        self.convs = nnx.List(make(part_in, part_out, size) for part_in, part_out, size in parts)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the layer to `(batch, height, width, in_features)`."""
        parts: list[Any] = jnp.split(inputs, self.starts, axis=-1)
        return jnp.concatenate([conv(part) for conv, part in zip(self.convs, parts, strict=True)], axis=-1)


def shares(count: int, parts: int) -> tuple[int, ...]:
    """Cuts a number into equal parts, and adds what remains to the first.

    Example:
      >>> from jds.nn.mixed import shares
      >>> shares(26, 3)
      (10, 8, 8)
    """
    share = count // parts
    return (share + count - share * parts, *[share] * (parts - 1))
