"""Options shared by the layers of a network."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jds.nn._arguments import check_norm
from jds.nn._batch_norm import BatchNorm
from jds.nn._conv import default_kernel_init
from jds.nn._separable import MakeNorm
from jds.ops._dispatch import Implementation

_batch_norm = functools.partial(BatchNorm, momentum=0.9)


class Window(NamedTuple):
    """Size and strides of a filter, an int per spatial axis."""

    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    kernel_dilation: tuple[int, ...]


Pads = Literal["SAME", "TORCH", "VALID"]


@dataclasses.dataclass(frozen=True)
class LayerConfig:
    """Options shared by the layers of a network.

    Attributes:
      norm: factory of normalizations, called as `norm(features, rngs=rngs)`.
      padding: `"SAME"`, as in TensorFlow, which may pad more after the image than before it; `"TORCH"`, the same on
        both sides, as in PyTorch networks; or `"VALID"`, none.
      dtype: dtype of the computation; None for the common dtype of inputs and parameters.
      param_dtype: dtype of the parameters.
      kernel_init: initializer of the kernels.
      implementation: implementation of depthwise and pointwise convolutions, as in `jds.depthwise_conv`. For ordinary
        convolutions inside blocks and networks, such as stems, only `"xla"` applies; with `"native"` or `"shifted"`,
        which are meant for the other two kinds, jds chooses their implementation. A single ordinary `ConvNorm` runs
        with the named implementation or raises.

    Raises:
      ValueError, TypeError: the padding is unknown, or `norm` does not make a normalization.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> config = jds.nn.LayerConfig(norm=nnx.BatchNorm, dtype=jnp.bfloat16)
      >>> block = jds.nn.InvertedResidual(8, 8, config=config, rngs=nnx.Rngs(0))
    """

    norm: MakeNorm = _batch_norm
    padding: Pads = "SAME"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    kernel_init: nnx.Initializer = default_kernel_init
    implementation: Implementation | None = None

    def __post_init__(self):
        check_norm("LayerConfig", norm=self.norm)
        if self.padding not in get_args(Pads):
            raise ValueError(f"LayerConfig: `padding` must be one of {', '.join(get_args(Pads))}, got {self.padding!r}")

    def pads(
        self, kernel_size: Sequence[int], strides: Sequence[int], kernel_dilation: Sequence[int]
    ) -> str | tuple[tuple[int, int], ...]:
        """Returns the padding of a convolution of these sizes, in the form that `jds.conv` accepts."""
        if self.padding != "TORCH":
            return self.padding
        sizes = zip(kernel_size, strides, kernel_dilation, strict=True)
        sides = (((k - 1) * dilation + stride - 1) // 2 for k, stride, dilation in sizes)
        return tuple((side, side) for side in sides)

    @property
    def for_ordinary(self) -> "LayerConfig":
        """Returns the config for ordinary convolutions, to which only `implementation="xla"` applies."""
        return dataclasses.replace(self, implementation="xla" if self.implementation == "xla" else None)


DEFAULT_CONFIG = LayerConfig()
