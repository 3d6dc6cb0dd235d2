"""The other layers of mobile networks as data: linear layers, squeeze and excitation, and means."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jds.ops._fused_block import Activation, activate


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean over all positions: `(batch, *spatial, features)` to `(batch, 1, …, features)`."""

    implementation: None = None
    has_batch: tuple[int, ...] = (0,)
    is_fused: bool = True

    def compose(self, images: jax.Array) -> jax.Array:
        return images.mean(tuple(range(1, images.ndim - 1)), keepdims=True)

    def __str__(self) -> str:
        return "mean"


@dataclasses.dataclass(frozen=True)
class Linear:
    """A product with a matrix, and its epilogue.

    The operands are `(*batch, in_features)`, the kernel `(in_features, out_features)` and, with `has_bias`, the bias.

    Attributes:
      has_bias: whether there is a bias.
      activation: a name in `ACTIVATIONS`, another function, or None.
      precision: as in `jax.lax`.
    """

    has_bias: bool
    activation: str | Activation | None
    precision: lax.PrecisionLike
    implementation: None = None
    has_batch: tuple[int, ...] = (0,)

    @property
    def is_fused(self) -> bool:
        return not callable(self.activation) and (self.has_bias or self.activation is not None)

    def compose(self, inputs: jax.Array, kernel: jax.Array, *bias: jax.Array) -> jax.Array:
        return _linear(inputs, kernel, *bias, activation=self.activation, precision=self.precision)

    def __str__(self) -> str:
        activation = "activation" if callable(self.activation) else self.activation
        return " + ".join(part for part in ("linear", "bias" if self.has_bias else None, activation) if part)


@dataclasses.dataclass(frozen=True)
class SqueezeExcite:
    """Each channel times a gate, which two linear layers compute from the means of all channels.

    The operands are `(batch, *spatial, features)`, and of each layer the kernel and, where `has_bias`, the bias.

    Attributes:
      has_bias: whether each layer has a bias.
      activations: of each layer, a name in `ACTIVATIONS` or another function.
      precision: as in `jax.lax`, for both layers.
    """

    has_bias: tuple[bool, bool]
    activations: tuple[str | Activation, str | Activation]
    precision: tuple[lax.PrecisionLike, lax.PrecisionLike]
    implementation: None = None
    has_batch: tuple[int, ...] = (0,)

    @property
    def is_fused(self) -> bool:
        return not any(callable(activation) for activation in self.activations)

    def compose(self, images: jax.Array, *operands: jax.Array) -> jax.Array:
        rest = iter(operands)
        out = images.mean(tuple(range(1, images.ndim - 1)))
        parts = zip(("squeeze", "excite"), self.has_bias, self.activations, self.precision, strict=True)
        for name, has_bias, activation, precision in parts:
            arrays = [next(rest) for _ in range(1 + has_bias)]
            with jax.named_scope(name):
                out = _linear(out, *arrays, activation=None, precision=precision)
            out = activate(activation, out)
        return images * jnp.expand_dims(out, range(1, images.ndim - 1)).astype(images.dtype)

    def __str__(self) -> str:
        return "squeeze and excitation"


def _linear(
    inputs: jax.Array, kernel: jax.Array, *bias: jax.Array, activation: Any, precision: lax.PrecisionLike
) -> jax.Array:
    out = lax.dot_general(inputs, kernel, (((inputs.ndim - 1,), (0,)), ((), ())), precision=precision)
    for values in bias:
        out = out + jnp.reshape(values, (1,) * (out.ndim - 1) + (-1,))
    return activate(activation, out)
