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


class Epilogue(NamedTuple):
    """The operations after a convolution, as passed by the caller: `activation(result * scale + bias)`."""

    scale: ArrayLike | None = None
    bias: ArrayLike | None = None
    activation: Activation | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """A channels-last convolution with its epilogue.

    Attributes:
      geometry: the spatial parameters; `pad_mode` is always `"constant"`.
      feature_group_count, precision, preferred_element_type: as in `lax.conv_general_dilated`.
      has_scale, has_bias: whether scale and bias are among the operands, after the kernel.
      activation: a name in `ACTIVATIONS`, another function, or None.
    """

    geometry: Geometry
    feature_group_count: int
    precision: lax.PrecisionLike
    preferred_element_type: jnp.dtype | None
    has_scale: bool
    has_bias: bool
    activation: str | Activation | None

    @property
    def epilogue(self) -> tuple[str, ...]:
        """Names of the parts of the epilogue."""
        activation = "activation" if callable(self.activation) else self.activation
        parts = ("scale" if self.has_scale else None, "bias" if self.has_bias else None, activation)
        return tuple(part for part in parts if part is not None)


@dataclasses.dataclass(frozen=True)
class Block:
    """Convolutions that run one after the other.

    The operands are the images `(batch, *spatial, in_features)`, followed by the kernel, scale (if any) and bias (if
    any) of each step. All have the dtype of the images, except that scale and bias may be float32 with 16-bit images.

    Attributes:
      steps: one step, or a depthwise step followed by a pointwise step.
      implementation: the implementation that the caller named for every step; None to let jds choose.
    """

    steps: tuple[Step, ...]
    implementation: str | None

    @property
    def has_epilogue(self) -> bool:
        """Whether any step has an epilogue."""
        return any(step.epilogue for step in self.steps)

    @property
    def is_known(self) -> bool:
        """Whether every activation has a name."""
        return not any(callable(step.activation) for step in self.steps)


class FusedForm(NamedTuple):
    """A fused block as the implementations see it: the block, and the shapes and dtypes of its operands."""

    block: Block
    operands: tuple[Any, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each step's convolution: `"depthwise"`, `"grouped"`, `"pointwise"` or `"ordinary"`."""
        if len(self.block.steps) == 2:
            return "depthwise", "pointwise"
        *window, in_features, out_features = self.operands[1].shape
        groups = self.block.steps[0].feature_group_count
        if groups > 1:
            return ("depthwise" if 1 in (in_features, out_features // groups) else "grouped",)
        return ("pointwise" if math.prod(window) == 1 else "ordinary",)

    def __str__(self) -> str:
        return "fused " + " → ".join(
            " + ".join([kind, *step.epilogue]) for kind, step in zip(self.kinds, self.block.steps, strict=True)
        )


def is_by_element(activation: Activation | None) -> bool:
    """Whether an activation is known to treat each element by itself; true of None."""
    return activation is None or name_of(activation) is not None


def name_of(activation: Activation) -> str | None:
    """Returns the name of an activation in `ACTIVATIONS`, or None."""
    return next((name for name, known in ACTIVATIONS.items() if known is activation), None)
