"""Convolutions with filters of several sizes."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jds.nn._affine import Affine
from jds.nn._arguments import check_features
from jds.nn._conv import DepthwiseConv, Norm, OrdinaryConv, PointwiseConv, in_turn
from jds.ops._fused_block import Activation, is_by_element


class MixedConv(nnx.Module):
    """Splits the channels among convolutions with filters of several sizes.

    From MixNet, https://arxiv.org/abs/1907.09595. The channels are split evenly, and the first size also gets the
    remainder.

    Args:
      in_features, out_features: numbers of channels.
      kernel_sizes: one size per part.
      make: factory of the parts, called as `make(in_features, out_features, kernel_size)`.

    Raises:
      ValueError: a size is not positive, or there are more sizes than channels.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx

      >>> def make(in_features, out_features, size):
      ...     return jds.nn.DepthwiseConv(in_features, (size, size), rngs=nnx.Rngs(0))
      >>> jds.nn.MixedConv(8, 8, (3, 5), make=make)(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_sizes: Sequence[int],
        *,
        make: Callable[[int, int, int], nnx.Module],
    ):
        for size in kernel_sizes:
            check_features("MixedConv", kernel_sizes=size)
        if not 0 < len(kernel_sizes) <= min(in_features, out_features):
            raise ValueError(
                "MixedConv: `kernel_sizes` must have at least one size and at most one per channel, got "
                f"{tuple(kernel_sizes)} for in_features={in_features} and out_features={out_features}"
            )
        self.in_features, self.out_features = in_features, out_features
        sizes_in, sizes_out = (shares(count, len(kernel_sizes)) for count in (in_features, out_features))
        self.starts = tuple(sum(sizes_in[:part]) for part in range(1, len(sizes_in)))
        parts = zip(sizes_in, sizes_out, kernel_sizes, strict=True)
        self.convs = nnx.List(make(part_in, part_out, size) for part_in, part_out, size in parts)

    def __call__(
        self,
        inputs: jax.Array,
        *,
        norm: Norm | None = None,
        activation: Activation | None = None,
        skip: jax.Array | None = None,
    ) -> jax.Array:
        """Applies the layer to `(batch, height, width, in_features)`; the options are as in `DepthwiseConv`."""
        parts: list[Any] = jnp.split(inputs, self.starts, axis=-1)
        convs: list[Any] = list(self.convs)
        fuses = all(type(conv) in (DepthwiseConv, PointwiseConv, OrdinaryConv) for conv in convs)
        if fuses and (norm is None or isinstance(norm, Affine)) and is_by_element(activation):
            ends = itertools.accumulate(conv.out_features for conv in convs)
            channels = [slice(end - conv.out_features, end) for conv, end in zip(convs, ends, strict=True)]
            norms = [norm and norm.part(own) for own in channels]
            out = [conv(x, norm=own, activation=activation) for conv, x, own in zip(convs, parts, norms, strict=True)]
            return in_turn(jnp.concatenate(out, axis=-1), skip=skip)
        out = [conv(part) for conv, part in zip(convs, parts, strict=True)]
        return in_turn(jnp.concatenate(out, axis=-1), norm, activation, skip=skip)


def shares(count: int, parts: int) -> tuple[int, ...]:
    """Splits a number into equal parts, and adds the remainder to the first.

    Example:
      >>> from jds.nn._mixed_conv import shares
      >>> shares(26, 3)
      (10, 8, 8)
    """
    share = count // parts
    return (share + count - share * parts, *[share] * (parts - 1))
