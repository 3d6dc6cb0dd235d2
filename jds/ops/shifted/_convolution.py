"""Convolutions as sums of shifted products, in plain `jax.lax`.

XLA fuses a sum of shifted products into one loop over contiguous channels, which its own grouped convolution on the
CPU does not do. One idea serves the forward pass and every derivative: the index with the fewest positions (the
kernel's, the output's or the input's) is written out, term by term, and each term is a product of whole arrays. Where
a term gives positions of the output, terms of the same phase are summed and the phases interleaved, so that a strided
input gradient multiplies nothing by zero. Where it gives one position of the output, the product is summed.
"""

import dataclasses
import functools
import itertools
import operator

import jax
import jax.numpy as jnp
from jax import lax

from jds.ops._named_array import Labelled, contract, multiply
from jds.ops._recognize import MAX_NUMBER, Form
from jds.ops.shifted._kernel_gradient import correlate
from jds.ops.shifted._taps import Ties, by_phase, overlap, solve

# A term is an operation of the compiled program; beyond this many, compiling takes too long.
MAX_TERMS = 256
# Products of so many contracted features are added one by one; those of more by a reduction, which XLA does slowly.
_FEATURES_WRITTEN_OUT = 8
# An input of more bytes is convolved a few images at a time, of at least so many bytes a step: a fresh buffer of tens
# of megabytes, for its padded copy, costs more in page faults than the arithmetic.
_BYTES_AT_ONCE = 12 * 2**20
_BYTES_IN_A_STEP = 2**20


def convolution(lhs: jax.Array, rhs: jax.Array, *, form: Form, partitioned: bool = False) -> jax.Array:
    """Computes a pointwise, depthwise or grouped convolution, or any derivative of one.

    Args:
      lhs, rhs: the operands of `lax.conv_general_dilated`, in the layouts of `form.labels`.
      form: what `recognise` read off the equation.
      partitioned: whether the compiler may cut the operands up for several devices; loops over the batch, which would
        gather it, are then left out.

    Returns:
      The convolution, in the layout `form.labels.out` and of dtype `form.out_dtype`. Accumulates in float32, or in
      float64 for float64 operands.
    """
    if form.is_empty:
        return jnp.zeros(form.out_shape, form.out_dtype)
    images = form.batch if partitioned else _images_in_a_step(lhs, form)
    if images < form.batch:
        return _in_blocks(lhs, rhs, images, form)
    left = Labelled(lhs.reshape(form.split_shape(form.labels.lhs, "input")), form.labels.lhs)
    right = Labelled(rhs.reshape(form.split_shape(form.labels.rhs, "kernel")), form.labels.rhs)
    if form.short == "output":
        out = _gather(left, right, form)
    elif form.short == "kernel":
        out = _scatter(left, right, form)
    else:
        flipped = lax.rev(right.array, [right.labels.index(axis) for axis in form.spatial])
        out = _scatter(Labelled(flipped, right.labels), left, form)
    return out.reshape(form.out_shape).astype(form.out_dtype)


def unsupported(form: Form) -> str | None:
    """Says in words why `shifted` cannot compute this equation; None if it can."""
    if form.dtype not in map(jnp.dtype, (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)):
        return f"`shifted` computes float16, bfloat16, float32 and float64, not {form.dtype.name}"
    if not jnp.issubdtype(form.out_dtype, jnp.floating):
        return f"`shifted` computes floating-point results, not {form.out_dtype.name}"
    if form.kind == "ordinary" and min(form.short_features) > 1:
        return "`shifted` computes depthwise, pointwise and grouped convolutions, and this one is ordinary"
    if any(abs(number) > MAX_NUMBER for axis in form.axes for number in axis):
        return f"`shifted` computes with sizes, strides, dilations and padding of at most {MAX_NUMBER}"
    if form.terms > MAX_TERMS:
        return f"`shifted` writes out at most {MAX_TERMS} terms, and this convolution has {form.terms}"
    return None


def _images_in_a_step(lhs: jax.Array, form: Form) -> int:
    """Number of images to take at once: all, or few where the input is large."""
    batch_first = form.labels.lhs[0] == form.labels.out[0] == "b"
    total = lhs.size * lhs.dtype.itemsize
    if not batch_first or form.short != "kernel" or form.kind == "pointwise" or total <= _BYTES_AT_ONCE:
        return form.batch
    enough = -(-form.batch * _BYTES_IN_A_STEP // total)
    return next(images for images in range(enough, form.batch + 1) if form.batch % images == 0)


def _in_blocks(lhs: jax.Array, rhs: jax.Array, images: int, form: Form) -> jax.Array:
    """Convolves so many images at a time."""
    part = dataclasses.replace(form, batch=images, out_shape=(images, *form.out_shape[1:]))
    if images == 1:
        # Without a dimension of size 1 in what the loop carries: XLA might copy all of it into another layout.
        return lax.map(lambda image: convolution(image[None], rhs, form=part)[0], lhs)
    blocks = lhs.reshape(form.batch // images, images, *lhs.shape[1:])
    return lax.map(lambda block: convolution(block, rhs, form=part), blocks).reshape(form.out_shape)


def _scatter(moving: Labelled, short: Labelled, form: Form) -> jax.Array:
    """Sums `short[index] * moving[shifted]` over the terms: forward passes and input gradients."""
    moving, axes = _pad_to_reach([solve(axis, form.short) for axis in form.axes], moving)
    if form.in_features > 1 and form.kind != "pointwise":
        moving = moving.arrange(["i", *(label for label in moving.labels if label != "i")])
    # Every phase is computed as long as the longest, so that they interleave; the excess is cut off.
    counts = [axis.positions(0) for axis in axes]
    steps = [axis.b_step for axis in axes]

    # The contracted features come first, so that each is a whole array.
    work = ["i", *form.labels.out]

    def product(term) -> jax.Array:
        window = moving.window([tie.start for tie in term], counts, steps)
        weights = short.window([tie.position for tie in term], [1] * len(term))
        if form.kind == "pointwise":
            out = contract(window, weights.without(form.spatial), "i", form.accumulator, form.precision)
            return out.arrange(work).array
        return multiply(window.arrange(work), weights.arrange(work), form.accumulator).array

    def total(terms) -> jax.Array:
        # All terms first, then the contracted features: the terms then run in one loop.
        products = functools.reduce(operator.add, map(product, terms))
        if form.in_features > _FEATURES_WRITTEN_OUT:
            return products.sum(0)
        return functools.reduce(operator.add, [products[i] for i in range(products.shape[0])])

    parts = {phase: total(terms) for phase, terms in by_phase(axes).items()}
    for axis, ties in enumerate(axes):
        parts = _interleave(parts, form.labels.out.index(str(axis)), ties)
    return parts[()] if parts else jnp.zeros(form.out_shape, form.out_dtype)


def _gather(lhs: Labelled, rhs: Labelled, form: Form) -> jax.Array:
    """Sums `lhs[shifted] * rhs` over all positions, for each short position of the output: kernel gradients."""
    axes = [solve(axis, "output") for axis in form.axes]
    features = [label for label in form.labels.out if label not in form.spatial]
    sums: dict[tuple[int, ...], jax.Array] = {}
    for phase, terms in by_phase(axes).items():
        counts = [ties.positions(p) for ties, p in zip(axes, phase, strict=True)]
        still = rhs.window(phase, counts, [ties.a_step for ties in axes])
        windows = [
            [overlap(tie, ties.b_step, count, ties.b_size) for tie, ties, count in zip(term, axes, counts, strict=True)]
            for term in terms
        ]
        if min(form.short_features) > 1:
            values = [_matrix_product(lhs, still, window, form) for window in windows]
        else:
            values = correlate(lhs, still, windows, form.accumulator)
        for term, value in zip(terms, values, strict=True):
            sums[tuple(tie.position for tie in term)] = value.arrange(features).array
    sizes = [axis.output for axis in form.axes]
    # Positions that no data reaches: a kernel's weights that only ever meet padding.
    zero = jnp.zeros(next(iter(sums.values())).shape if sums else form.split_shape(features), form.accumulator)
    stacked = jnp.stack([sums.get(index, zero) for index in itertools.product(*map(range, sizes))])
    return Labelled(stacked.reshape(*sizes, *zero.shape), (*form.spatial, *features)).arrange(form.labels.out).array


def _matrix_product(lhs: Labelled, rhs: Labelled, window, form: Form) -> Labelled:
    counts = [axis.positions for axis in window]
    moving = lhs.window([axis.b for axis in window], counts, [axis.b_step for axis in window])
    still = rhs.window([axis.a for axis in window], counts)
    return contract(moving, still, ["i", *form.spatial], form.accumulator, form.precision)


def _pad_to_reach(axes: list[Ties], moving: Labelled) -> tuple[Labelled, list[Ties]]:
    """Pads the moving array so that every window lies inside, and moves the starts accordingly."""
    widths, moved = {}, []
    for axis, ties in enumerate(axes):
        starts = [tie.start for tie in ties.ties]
        low = max([0, *(-start for start in starts)])
        last = max([0, *(start + ties.b_step * (ties.positions(0) - 1) for start in starts)])
        widths[str(axis)] = (low, max(0, last - ties.b_size + 1))
        moved.append(ties._replace(ties=tuple(tie._replace(start=tie.start + low) for tie in ties.ties)))
    return moving.pad(widths), moved


def _interleave(parts: dict[tuple[int, ...], jax.Array], dimension: int, ties: Ties) -> dict:
    """Puts the phases of one axis, the first of the keys, side by side, and cuts the axis to its size."""
    grouped: dict[tuple[int, ...], dict[int, jax.Array]] = {}
    for (phase, *rest), part in parts.items():
        grouped.setdefault(tuple(rest), {})[phase] = part
    return {rest: _interleave_axis(by_phase, dimension, ties) for rest, by_phase in grouped.items()}


def _interleave_axis(by_phase: dict[int, jax.Array], dimension: int, ties: Ties) -> jax.Array:
    if ties.a_step == 1:
        return by_phase[0]
    some = next(iter(by_phase.values()))
    if len(by_phase) == 1:  # the rest is zero: dilate
        (phase,) = by_phase
        length = (some.shape[dimension] - 1) * ties.a_step + 1
        config = [(0, 0, 0)] * some.ndim
        config[dimension] = (phase, ties.a_size - phase - length, ties.a_step - 1)
        return lax.pad(some, jnp.zeros((), some.dtype), config)
    zeros = jnp.zeros(some.shape, some.dtype)
    stacked = jnp.stack([by_phase.get(phase, zeros) for phase in range(ties.a_step)], dimension + 1)
    shape = list(some.shape)
    shape[dimension] *= ties.a_step
    return lax.slice_in_dim(stacked.reshape(shape), 0, ties.a_size, axis=dimension)
