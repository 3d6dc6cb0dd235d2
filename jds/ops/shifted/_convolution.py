"""Convolutions as sums of shifted products, in plain `jax.lax`.

XLA fuses a sum of shifted products into one loop over contiguous channels; its own grouped convolution on the CPU is
not such a loop. One algorithm serves the forward pass and every derivative: the index with the fewest positions
(kernel, output or input) is unrolled into terms, each a product of whole arrays. If a term contributes to many
positions of the output, terms of the same phase are summed and the phases interleaved, which means that a strided input
gradient never multiplies by zero. If it contributes to a single position of the output, the product is summed.
"""

import dataclasses
import functools
import itertools
import math
import operator

import jax
import jax.numpy as jnp
from jax import lax

from jds.ops._named_array import NamedArray, contract, multiply
from jds.ops._recognize import MAX_NUMBER, Form
from jds.ops.shifted._kernel_gradient import correlate
from jds.ops.shifted._taps import Taps, by_phase, find_taps, overlap

# Each term is an operation of the compiled program; a program with more terms takes too long to compile.
MAX_TERMS = 256
# Up to this many contracted features are added one by one; more are summed by a reduction, which is slow in XLA.
_FEATURES_WRITTEN_OUT = 8
# A larger input is convolved a few images at a time, at least `_BYTES_IN_A_STEP` per step: with a fresh buffer of tens
# of megabytes for the padded copy, page faults cost more than the arithmetic.
_BYTES_AT_ONCE = 12 * 2**20
_BYTES_IN_A_STEP = 2**20


def convolution(lhs: jax.Array, rhs: jax.Array, *, form: Form, partitioned: bool = False) -> jax.Array:
    """Computes a pointwise, depthwise or grouped convolution, or any derivative of one.

    Args:
      lhs, rhs: the operands of `lax.conv_general_dilated`, in the layouts of `form.labels`.
      form: the result of `recognize`.
      partitioned: whether the compiler may partition the operands across several devices; if so, there is no loop over
        the batch, because it would gather the batch.

    Returns:
      The convolution, in the layout `form.labels.out` and of dtype `form.out_dtype`. Accumulates in float32, or in
      float64 for float64 operands.
    """
    if form.is_empty:
        return jnp.zeros(form.out_shape, form.out_dtype)
    images = None if partitioned else _images_in_a_step(lhs, form)
    if images is not None:
        return _in_blocks(lhs, rhs, images, form)
    left = NamedArray(lhs.reshape(form.split_shape(form.labels.lhs, "input")), form.labels.lhs)
    right = NamedArray(rhs.reshape(form.split_shape(form.labels.rhs, "kernel")), form.labels.rhs)
    if form.short == "output":
        out = _gather(left, right, form)
    elif form.short == "kernel":
        out = _scatter(left, right, form)
    else:
        flipped = lax.rev(right.array, [right.labels.index(axis) for axis in form.spatial])
        out = _scatter(NamedArray(flipped, right.labels), left, form)
    return out.reshape(form.out_shape).astype(form.out_dtype)


def unsupported(form: Form) -> str | None:
    """Returns the reason why `shifted` cannot compute this equation, or None if it can."""
    if form.dtype not in map(jnp.dtype, (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)):
        return f"`shifted` supports float16, bfloat16, float32 and float64, not {form.dtype.name}"
    if not jnp.issubdtype(form.out_dtype, jnp.floating):
        return f"`shifted` supports floating-point results, not {form.out_dtype.name}"
    if form.kind == "ordinary" and min(form.short_features) > 1:
        return "`shifted` supports depthwise, pointwise and grouped convolutions, and this one is ordinary"
    if any(abs(number) > MAX_NUMBER for axis in form.axes for number in axis):
        return f"`shifted` supports sizes, strides, dilations and padding of at most {MAX_NUMBER}"
    if form.terms > MAX_TERMS:
        return f"`shifted` unrolls at most {MAX_TERMS} terms, and this convolution has {form.terms}"
    return None


def _images_in_a_step(lhs: jax.Array, form: Form) -> int | None:
    """Returns the number of images per step if the input is large; None for no steps, as with a symbolic batch."""
    batch_first = form.labels.lhs[0] == form.labels.out[0] == "b"
    if not batch_first or form.short != "kernel" or form.kind == "pointwise" or not isinstance(form.batch, int):
        return None
    image = math.prod(lhs.shape[1:]) * lhs.dtype.itemsize
    if image * form.batch <= _BYTES_AT_ONCE:
        return None
    enough = -(-_BYTES_IN_A_STEP // image)
    return next((images for images in range(enough, form.batch) if form.batch % images == 0), None)


def _in_blocks(lhs: jax.Array, rhs: jax.Array, images: int, form: Form) -> jax.Array:
    """Convolves `images` images at a time."""
    part = dataclasses.replace(form, batch=images, out_shape=(images, *form.out_shape[1:]))
    if images == 1:
        # Keep dimensions of size 1 out of the scanned array: XLA might copy all of it into another layout.
        return lax.map(lambda image: convolution(image[None], rhs, form=part)[0], lhs)
    blocks = lhs.reshape(form.batch // images, images, *lhs.shape[1:])
    return lax.map(lambda block: convolution(block, rhs, form=part), blocks).reshape(form.out_shape)


def _scatter(moving: NamedArray, short: NamedArray, form: Form) -> jax.Array:
    """Sums `short[index] * moving[shifted]` over the terms: forward passes and input gradients."""
    moving, axes = _pad_to_reach([find_taps(axis, form.short) for axis in form.axes], moving)
    if form.in_features > 1 and form.kind != "pointwise":
        moving = moving.arrange(["i", *(label for label in moving.labels if label != "i")])
    # Every phase is computed at the length of the longest to allow interleaving; the excess is cut off.
    counts = [axis.positions(0) for axis in axes]
    steps = [axis.b_step for axis in axes]

    # The contracted features come first, so that each is a whole array.
    work = ["i", *form.labels.out]

    def product(term) -> jax.Array:
        window = moving.window([tap.start for tap in term], counts, steps)
        weights = short.window([tap.position for tap in term], [1] * len(term))
        if form.kind == "pointwise":
            out = contract(window, weights.without(form.spatial), "i", form.accumulator, form.precision)
            return out.arrange(work).array
        return multiply(window.arrange(work), weights.arrange(work), form.accumulator).array

    def total(terms) -> jax.Array:
        # Sum over the terms first, then over the contracted features: this runs all terms in one loop.
        products = functools.reduce(operator.add, map(product, terms))
        if form.in_features > _FEATURES_WRITTEN_OUT:
            return products.sum(0)
        return functools.reduce(operator.add, [products[i] for i in range(products.shape[0])])

    parts = {phase: total(terms) for phase, terms in by_phase(axes).items()}
    for axis, taps in enumerate(axes):
        parts = _interleave(parts, form.labels.out.index(str(axis)), taps)
    return parts[()] if parts else jnp.zeros(form.out_shape, form.out_dtype)


def _gather(lhs: NamedArray, rhs: NamedArray, form: Form) -> jax.Array:
    """Sums `lhs[shifted] * rhs` over all positions, for each short position of the output: kernel gradients."""
    axes = [find_taps(axis, "output") for axis in form.axes]
    features = [label for label in form.labels.out if label not in form.spatial]
    sums: dict[tuple[int, ...], jax.Array] = {}
    for phase, terms in by_phase(axes).items():
        counts = [taps.positions(p) for taps, p in zip(axes, phase, strict=True)]
        still = rhs.window(phase, counts, [taps.a_step for taps in axes])
        windows = [
            [overlap(tap, taps.b_step, count, taps.b_size) for tap, taps, count in zip(term, axes, counts, strict=True)]
            for term in terms
        ]
        if min(form.short_features) > 1:
            values = [_matrix_product(lhs, still, window, form) for window in windows]
        else:
            values = correlate(lhs, still, windows, form.accumulator)
        for term, value in zip(terms, values, strict=True):
            sums[tuple(tap.position for tap in term)] = value.arrange(features).array
    sizes = [axis.output for axis in form.axes]
    # For positions that no data reaches, such as weights that are only multiplied by padding.
    zero = jnp.zeros(next(iter(sums.values())).shape if sums else form.split_shape(features), form.accumulator)
    stacked = jnp.stack([sums.get(index, zero) for index in itertools.product(*map(range, sizes))])
    return NamedArray(stacked.reshape(*sizes, *zero.shape), (*form.spatial, *features)).arrange(form.labels.out).array


def _matrix_product(lhs: NamedArray, rhs: NamedArray, window, form: Form) -> NamedArray:
    counts = [axis.positions for axis in window]
    moving = lhs.window([axis.b for axis in window], counts, [axis.b_step for axis in window])
    still = rhs.window([axis.a for axis in window], counts)
    return contract(moving, still, ["i", *form.spatial], form.accumulator, form.precision)


def _pad_to_reach(axes: list[Taps], moving: NamedArray) -> tuple[NamedArray, list[Taps]]:
    """Pads the moving array until every window lies inside it, and shifts the starts accordingly."""
    widths, moved = {}, []
    for axis, taps in enumerate(axes):
        starts = [tap.start for tap in taps.taps]
        low = max([0, *(-start for start in starts)])
        last = max([0, *(start + taps.b_step * (taps.positions(0) - 1) for start in starts)])
        widths[str(axis)] = (low, max(0, last - taps.b_size + 1))
        moved.append(taps._replace(taps=tuple(tap._replace(start=tap.start + low) for tap in taps.taps)))
    return moving.pad(widths), moved


def _interleave(parts: dict[tuple[int, ...], jax.Array], dimension: int, taps: Taps) -> dict:
    """Interleaves the phases of one axis, the first in the keys, and cuts the axis to its size."""
    grouped: dict[tuple[int, ...], dict[int, jax.Array]] = {}
    for (phase, *rest), part in parts.items():
        grouped.setdefault(tuple(rest), {})[phase] = part
    return {rest: _interleave_axis(by_phase, dimension, taps) for rest, by_phase in grouped.items()}


def _interleave_axis(by_phase: dict[int, jax.Array], dimension: int, taps: Taps) -> jax.Array:
    if taps.a_step == 1:
        return by_phase[0]
    some = next(iter(by_phase.values()))
    if len(by_phase) == 1:  # all other phases are zero: dilate
        (phase,) = by_phase
        length = (some.shape[dimension] - 1) * taps.a_step + 1
        config = [(0, 0, 0)] * some.ndim
        config[dimension] = (phase, taps.a_size - phase - length, taps.a_step - 1)
        return lax.pad(some, jnp.zeros((), some.dtype), config)
    zeros = jnp.zeros(some.shape, some.dtype)
    stacked = jnp.stack([by_phase.get(phase, zeros) for phase in range(taps.a_step)], dimension + 1)
    shape = list(some.shape)
    shape[dimension] *= taps.a_step
    return lax.slice_in_dim(stacked.reshape(shape), 0, taps.a_size, axis=dimension)
