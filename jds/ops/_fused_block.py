"""A block as data: one or two convolutions, each followed by a scale, a bias and an activation."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jds.ops._geometry import Geometry

Activation = Callable[[jax.Array], jax.Array]

# The activations that a kernel can know, by name.
ACTIVATIONS: dict[str, Activation] = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
}


class Epilogue(NamedTuple):
    """What the caller wants done to a convolution's result; `activation(result * scale + bias)`."""

    scale: ArrayLike | None = None
    bias: ArrayLike | None = None
    activation: Activation | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """A convolution, channels last, and what follows it.

    Attributes:
      geometry: the spatial side; its `pad_mode` is always `"constant"`.
      feature_group_count, precision, preferred_element_type: as `lax.conv_general_dilated` has them.
      has_scale, has_bias: whether such an operand follows the kernel.
      activation: a name in `ACTIVATIONS`, None for none, or any other function.
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
        """What follows the convolution, in words."""
        activation = "activation" if callable(self.activation) else self.activation
        parts = ("scale" if self.has_scale else None, "bias" if self.has_bias else None, activation)
        return tuple(part for part in parts if part is not None)


@dataclasses.dataclass(frozen=True)
class Block:
    """Steps that feed each other.

    Its operands are the images `(batch, *spatial, in_features)` and then, for each step, its kernel, its scale if it
    has one, and its bias if it has one; all of the images' dtype, but scale and bias may be of float32 beside 16 bits.

    Attributes:
      steps: one, or a depthwise one and a pointwise one.
      implementation: of each step, as the caller asked for it; None for the library's choice.
    """

    steps: tuple[Step, ...]
    implementation: str | None

    @property
    def has_epilogue(self) -> bool:
        """Whether it is more than its convolutions."""
        return any(step.epilogue for step in self.steps)

    @property
    def is_known(self) -> bool:
        """Whether every activation has a name."""
        return not any(callable(step.activation) for step in self.steps)


class FusedForm(NamedTuple):
    """A fused block in canonical terms: the block, and the shapes and dtypes of its operands, in the block's order."""

    block: Block
    operands: tuple[Any, ...]

    def __str__(self) -> str:
        kinds = ("ordinary",) if len(self.block.steps) == 1 else ("depthwise", "pointwise")
        return "fused " + " → ".join(
            " + ".join([kind, *step.epilogue]) for kind, step in zip(kinds, self.block.steps, strict=True)
        )


def name_of(activation: Activation) -> str | None:
    """Returns the name of an activation; None if it has none."""
    return next((name for name, known in ACTIVATIONS.items() if known is activation), None)
