"""The fused block: convolutions with their epilogues, or another layer, as one primitive.

The primitive carries its reference jaxpr, the plain composition of the steps. It is lowered either to that jaxpr or to
a single kernel that keeps intermediate values out of memory. Differentiation replaces it with the composition, so the
primitive occurs only in programs, or parts of programs, that are not differentiated.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, xla

from jds.ops._fused_block import Block, Step, activate
from jds.ops._lowering import mark, register_block

fused_conv_p = Primitive("fused_conv")


def run_block(images: jax.Array, *operands: jax.Array, block: Any) -> jax.Array:
    """Runs a block, as one fused op if it may be one.

    Args:
      images: the first operand, which begins with the batch axis.
      *operands: the other operands.
      block: a `Block`, or a class of `_fused_layers.py`.
    """
    if block.is_fused:
        return _bind(images, *operands, block=block)
    return compose(images, *operands, block=block)


def compose(images: jax.Array, *operands: jax.Array, block: Any) -> jax.Array:
    """Reference implementation: runs the block step by step."""
    if isinstance(block, Block):
        return _compose_convolutions(images, *operands, block=block)
    return block.compose(images, *operands)


def _compose_convolutions(images: jax.Array, *operands: jax.Array, block: Block) -> jax.Array:
    out, rest = images, iter(operands)
    for step in block.steps:
        kernel = next(rest)
        with mark(block.implementation):
            out = convolution(out, _cast(kernel, out.dtype), step=step)
        dtype = out.dtype
        scale = next(rest) if step.has_scale else None
        bias = next(rest) if step.has_bias else None
        if jnp.float32 in [values.dtype for values in (scale, bias) if values is not None] and dtype.itemsize < 4:
            out = out.astype(jnp.float32)  # rounded to 16 bits only once, at the end
        if scale is not None:
            out = out * _per_channel(scale, out)
        if bias is not None:
            out = out + _per_channel(bias, out)
        out = out if isinstance(step.activation, str) else _cast(out, dtype)
        out = _cast(jnp.asarray(activate(step.activation, out)), dtype)
        out = next(rest) + out if step.has_skip else out
    return out


def convolution(images: jax.Array, kernel: jax.Array, *, step: Step) -> jax.Array:
    """Runs the convolution of a step, without its epilogue."""
    geometry = step.geometry
    return lax.conv_general_dilated(
        images,
        kernel,
        geometry.strides,
        geometry.padding,
        geometry.input_dilation,
        geometry.kernel_dilation,
        dimension_numbers=_channels_last(len(geometry.strides)),
        feature_group_count=step.feature_group_count,
        precision=step.precision,
        preferred_element_type=step.preferred_element_type,
    )


def _channels_last(rank: int) -> lax.ConvDimensionNumbers:
    spatial = range(rank)
    images = (0, rank + 1, *(axis + 1 for axis in spatial))
    return lax.ConvDimensionNumbers(images, (rank + 1, rank, *spatial), images)


def _per_channel(values: jax.Array, out: jax.Array) -> jax.Array:
    return _cast(values, out.dtype).reshape((1,) * (out.ndim - 1) + values.shape)


def _cast(values: jax.Array, dtype: jnp.dtype) -> jax.Array:
    # With x64 disabled, `astype` to float64 warns even if there is nothing to convert.
    return values if values.dtype == dtype else values.astype(dtype)


@functools.lru_cache(4096)
def _composition(block: Any):
    """One jitted function per block, so that JAX caches its trace."""
    return jax.jit(functools.partial(compose, block=block))


def _bind(*operands: jax.Array, block: Any) -> jax.Array:
    return fused_conv_p.bind(*operands, jaxpr=_composition(block).trace(*operands).jaxpr, block=block)


def _abstract_eval(*_, jaxpr, block):
    (out,) = jaxpr.out_avals
    return out


def _jvp(primals: Sequence, tangents: Sequence, *, jaxpr, block: Any):
    moving = [place for place, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]

    def of_moving(*values):
        return compose(*_merge(primals, moving, values), block=block)

    return jax.jvp(of_moving, [primals[place] for place in moving], [tangents[place] for place in moving])


def _transpose(cotangent, *operands, jaxpr, block: Any):
    """Transposes a block that is linear in some operands, and so has neither bias nor activation."""
    linear = [place for place, operand in enumerate(operands) if ad.is_undefined_primal(operand)]
    gradients: list = [None] * len(operands)
    if not isinstance(cotangent, ad.Zero):

        def of_linear(*values):
            return compose(*_merge(operands, linear, values), block=block)

        found = jax.linear_transpose(of_linear, *(operands[place].aval for place in linear))(cotangent)
        gradients = _merge(gradients, linear, found)
    return gradients


def _batch(operands: Sequence, axes: Sequence, *, jaxpr, block: Any):
    """Merges the mapped axis into the batch if all that is mapped has one; otherwise maps the composition."""
    mapped = [place for place, axis in enumerate(axes) if axis is not None]
    if not set(mapped) <= set(block.has_batch):
        return jax.vmap(functools.partial(compose, block=block), tuple(axes))(*operands), 0
    size, merged = operands[mapped[0]].shape[axes[mapped[0]]], list(operands)
    for place in block.has_batch:
        operand, axis = operands[place], axes[place]
        operand = jnp.broadcast_to(operand, (size, *operand.shape)) if axis is None else jnp.moveaxis(operand, axis, 0)
        merged[place] = operand.reshape(size * operand.shape[1], *operand.shape[2:])
    out = _bind(*merged, block=block)
    return out.reshape(size, out.shape[0] // size, *out.shape[1:]), 0


def _merge(operands: Sequence, places: Sequence[int], values: Sequence) -> list:
    """Returns the operands with `values` substituted at `places`."""
    merged = list(operands)
    for place, value in zip(places, values, strict=True):
        merged[place] = value
    return merged


fused_conv_p.def_impl(functools.partial(xla.apply_primitive, fused_conv_p))
fused_conv_p.def_abstract_eval(_abstract_eval)
ad.primitive_jvps[fused_conv_p] = _jvp
ad.primitive_transposes[fused_conv_p] = _transpose
batching.primitive_batchers[fused_conv_p] = _batch
register_block(fused_conv_p)
