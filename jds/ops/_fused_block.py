"""A block as data: one or two convolutions, each with an epilogue of scale, bias and activation."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jds.ops._geometry import Geometry

Activation = Callable[[jax.Array], jax.Array]


def gelu(x: jax.Array) -> jax.Array:
    """Gaussian error linear unit computed with erf; `jax.nn.gelu` uses erfc, which is three times slower on CPUs."""
    wide = x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    return (0.5 * wide * (1 + lax.erf(wide * 0.5**0.5))).astype(x.dtype)


# The activations that a fused kernel may support, by name.
ACTIVATIONS: dict[str, Activation] = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "gelu": gelu,
    "gelu_tanh": jax.nn.gelu,
}


def activate(activation: str | Activation | None, values: jax.Array) -> jax.Array:
    """Applies an activation: a name in `ACTIVATIONS`, another function, or None."""
    if activation is None:
        return values
    return ACTIVATIONS[activation](values) if isinstance(activation, str) else activation(values)


class Epilogue(NamedTuple):
    """The operations after a convolution, as passed by the caller: `activation(result * scale + bias) + skip`."""

    scale: ArrayLike | None = None
    bias: ArrayLike | None = None
    activation: Activation | None = None
    skip: ArrayLike | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """A channels-last convolution with its epilogue.

    Attributes:
      geometry: the spatial parameters; `pad_mode` is always `"constant"`.
      feature_group_count, precision, preferred_element_type: as in `lax.conv_general_dilated`.
      has_scale, has_bias: whether scale and bias are among the operands, after the kernel.
      activation: a name in `ACTIVATIONS`, another function, or None.
      has_skip: whether an array is added to the result; it is the last operand.
    """

    geometry: Geometry
    feature_group_count: int
    precision: lax.PrecisionLike
    preferred_element_type: jnp.dtype | None
    has_scale: bool
    has_bias: bool
    activation: str | Activation | None
    has_skip: bool

    @property
    def epilogue(self) -> tuple[str, ...]:
        """Names of the parts of the epilogue."""
        activation = "activation" if callable(self.activation) else self.activation
        skip = "skip" if self.has_skip else None
        parts = ("scale" if self.has_scale else None, "bias" if self.has_bias else None, activation, skip)
        return tuple(part for part in parts if part is not None)


@dataclasses.dataclass(frozen=True)
class Block:
    """Convolutions that run one after the other.

    The operands are the images `(batch, *spatial, in_features)`, followed by the kernel, scale (if any) and bias (if
    any) of each step, and the array that the last one adds (if any). All have the dtype of the images, except that
    scale and bias may be float32 with 16-bit images, and the last has the dtype of the result.

    Attributes:
      steps: one step, or a depthwise step followed by a pointwise step.
      implementation: the implementation that the caller named for every step; None to let jds choose.
    """

    steps: tuple[Step, ...]
    implementation: str | None

    @property
    def is_fused(self) -> bool:
        """Whether it may be one fused op: a step has an epilogue, and every activation has a name."""
        return any(step.epilogue for step in self.steps) and not any(callable(step.activation) for step in self.steps)

    @property
    def has_batch(self) -> tuple[int, ...]:
        """The places of the operands with the batch axis: the images and, as the last one, the array that is added."""
        last = self.steps[-1].has_skip
        count = sum(1 + step.has_scale + step.has_bias for step in self.steps)
        return (0, count + 1) if last else (0,)


class FusedForm(NamedTuple):
    """A fused op as the implementations see it, with the shapes and dtypes of its operands.

    Attributes:
      block: convolutions or another layer: a `Block`, or a class of `_fused_layers.py`.
      operands: arrays, or only their shapes and dtypes.
    """

    block: Any
    operands: tuple[Any, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each convolution of a `Block`: `"depthwise"`, `"grouped"`, `"pointwise"` or `"ordinary"`."""
        if len(self.block.steps) == 2:
            return "depthwise", "pointwise"
        *window, in_features, out_features = self.operands[1].shape
        groups = self.block.steps[0].feature_group_count
        if groups > 1:
            return ("depthwise" if 1 in (in_features, out_features // groups) else "grouped",)
        return ("pointwise" if math.prod(window) == 1 else "ordinary",)

    def __str__(self) -> str:
        if not isinstance(self.block, Block):
            return str(self.block)
        return "fused " + " → ".join(
            " + ".join([kind, *step.epilogue]) for kind, step in zip(self.kinds, self.block.steps, strict=True)
        )


def is_by_element(activation: Activation | None) -> bool:
    """Whether an activation is known to treat each element by itself; true of None."""
    return activation is None or name_of(activation) is not None


def name_of(activation: Activation) -> str | None:
    """Returns the name of an activation in `ACTIVATIONS`, or None."""
    return next((name for name, known in ACTIVATIONS.items() if known is activation), None)
