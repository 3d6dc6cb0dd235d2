"""Fused blocks run by a CPU kernel: convolutions with their epilogues, or another layer."""

from collections.abc import Callable
from typing import Any

import jax

from jds.ops._fused_block import Block, FusedForm
from jds.ops._fused_layers import Linear, Mean, SqueezeExcite
from jds.ops.native import _library
from jds.ops.native._fused_convolutions import convolutions, unsupported_convolutions
from jds.ops.native._fused_layers import linear, mean, squeeze_excite
from jds.ops.native._kernel_call import DTYPES

_RUN: dict[type, Callable[..., jax.Array]] = {
    Block: convolutions,
    Linear: linear,
    Mean: mean,
    SqueezeExcite: squeeze_excite,
}


def fused_block(images: jax.Array, *operands: jax.Array, block: Any) -> jax.Array:
    """Computes a block on the CPU.

    Args:
      images, *operands: the operands of the block.
      block: a block that `unsupported_block` does not object to.

    Returns:
      The result, computed in float32 and rounded once, at the end.
    """
    _library.load()
    return _RUN[type(block)](images, *operands, block=block)


def unsupported_block(form: FusedForm) -> str | None:
    """Returns the reason why the kernel cannot compute this block, or None if it can."""
    first, *rest = form.operands
    if first.dtype not in DTYPES:
        return f"the kernel supports float32, bfloat16 and float16, not {first.dtype.name}"
    if any(0 in aval.shape for aval in form.operands):
        return "an array is empty"
    if isinstance(form.block, Block):
        return unsupported_convolutions(form) or _library.fault()
    if any(aval.dtype != first.dtype for aval in rest):
        return "the operands have several dtypes"
    return _library.fault()
