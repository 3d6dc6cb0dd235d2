"""Convolutions as sums of shifted products, in plain `jax.lax`.

XLA fuses a sum of shifted products into one loop over contiguous channels, which its own grouped convolution on the
CPU does not do. One idea serves the forward pass and every derivative: the index with the fewest positions (the
kernel's, the output's or the input's) is written out, term by term, and each term is a product of whole arrays.

On each axis a term ties a position `a` of one array to a position `b` of another by `alpha * a - beta * b == c`. Its
solutions are `a = phase + a_step * q`, `b = start + b_step * q`. Where `a` belongs to the output, the outputs of each
phase are summed and the phases interleaved, so that a strided input gradient multiplies nothing by zero. Where `a`
belongs to the other operand, both are multiplied and summed to one number a channel.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jds.ops.recognise import Axis, Form

# Terms accumulated together in one loop of a kernel gradient: few enough that their accumulators stay in the cache.
_TERMS_IN_A_LOOP = 12
# Elements that one step of that loop should at least have, for the loop's overhead not to show.
_ELEMENTS_IN_A_STEP = 8192
# An input of more bytes is convolved a few images at a time, of at least so many bytes a step.
_BYTES_AT_ONCE = 12 * 2**20
_BYTES_IN_A_STEP = 2**20
# A term is an operation of the compiled program; beyond this many, compiling takes too long.
MAX_TERMS = 256


class Term(NamedTuple):
    """On one axis: position `index` of the short operand ties `phase + a_step * q` to `start + b_step * q`."""

    index: int
    phase: int
    start: int


class Ties(NamedTuple):
    """All terms of one axis, with the steps and the number of positions that they share."""

    terms: tuple[Term, ...]
    a_step: int
    b_step: int
    a_size: int
    b_size: int

    def count(self, phase: int) -> int:
        """Number of positions `q` of a phase."""
        return -(-(self.a_size - phase) // self.a_step)


def shifted(lhs: jax.Array, rhs: jax.Array, *, form: Form, partitioned: bool = False) -> jax.Array:
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
    lhs = _split_groups(lhs, form.labels.lhs, form)
    rhs = _split_groups(rhs, form.labels.rhs, form)
    if form.short == "output":
        out = _gather(lhs, rhs, form)
    elif form.short == "kernel":
        images = form.batch if partitioned else _images_in_a_step(lhs, form)
        if images == form.batch:
            out = _scatter(lhs, form.labels.lhs, rhs, form.labels.rhs, form)
        else:
            part = dataclasses.replace(form, batch=images)
            blocks = lhs.reshape(form.batch // images, images, *lhs.shape[1:])
            out = lax.map(
                lambda block: _scatter(block, form.labels.lhs, rhs, form.labels.rhs, part).astype(form.out_dtype), blocks
            )
    else:
        flipped = lax.rev(rhs, [form.labels.rhs.index(axis) for axis in _spatial(form)])
        out = _scatter(flipped, form.labels.rhs, lhs, form.labels.lhs, form)
    return out.reshape(form.out_shape).astype(form.out_dtype)


def _images_in_a_step(lhs: jax.Array, form: Form) -> int:
    """Number of images to take at once: all, or few where the padded copy of all would leave the cache.

    A fresh buffer of tens of megabytes costs more in page faults than the arithmetic.
    """
    if form.kind == "pointwise" or not form.labels.lhs[0] == form.labels.out[0] == "b":
        return form.batch
    total = lhs.size * lhs.dtype.itemsize
    if total <= _BYTES_AT_ONCE:
        return form.batch
    enough = -(-form.batch * _BYTES_IN_A_STEP // total)
    return next(images for images in range(enough, form.batch + 1) if form.batch % images == 0)


def _scatter(moving: jax.Array, moving_labels, short: jax.Array, short_labels, form: Form) -> jax.Array:
    """Sums `short[index] * moving[shifted]` over the terms: forward passes and input gradients."""
    ties = [_ties(axis, form.short) for axis in form.axes]
    moving, ties = _pad(moving, moving_labels, ties)
    parts = {}
    for phase, terms in _by_phase(ties).items():
        # Every phase is computed as long as the longest, so that they interleave; the excess is cut off.
        counts = [tie.count(0) for tie in ties]
        products = (
            _product(
                _window(moving, moving_labels, [t.start for t in term], counts, ties),
                moving_labels,
                _position(short, short_labels, [t.index for t in term]),
                short_labels,
                form,
            )
            for term in terms
        )
        parts[phase] = _sum(products)
    shape = tuple({**_sizes(form), "i": 1}[label] for label in form.labels.out if not label.isdigit())
    return _interleave(parts, ties, form, shape)


def _product(window, window_labels, position, position_labels, form: Form) -> jax.Array:
    """One term, in the layout of the output, summed over the contracted features."""
    out_labels = form.labels.out
    if form.kind == "pointwise":
        spatial = _spatial(form)
        position = lax.squeeze(position, [position_labels.index(axis) for axis in spatial])
        position_labels = [label for label in position_labels if label not in spatial]
        return _matmul(window, window_labels, position, position_labels, ["i"], out_labels, form)
    work = [*out_labels, "i"]
    dtype = _accumulator(form)
    product = _arrange(window, window_labels, work).astype(dtype) * _arrange(position, position_labels, work).astype(dtype)
    return product.sum(-1) if form.in_features > 1 else lax.squeeze(product, [len(out_labels)])


def _gather(lhs: jax.Array, rhs: jax.Array, form: Form) -> jax.Array:
    """Sums `lhs[shifted] * rhs` over all positions, for each short position of the output: kernel gradients."""
    ties = [_ties(axis, "output") for axis in form.axes]
    labels = [label for label in form.labels.out if not label.isdigit()]
    sums: dict[tuple[int, ...], jax.Array] = {}
    for phase, terms in _by_phase(ties).items():
        counts = [tie.count(p) for tie, p in zip(ties, phase, strict=True)]
        fixed = _slice(rhs, form.labels.rhs, phase, counts, [tie.a_step for tie in ties])
        windows = [tuple(_overlap(t, tie, n) for t, tie, n in zip(term, ties, counts, strict=True)) for term in terms]
        reduce = _contract if form.kind == "pointwise" else _correlate
        values = reduce(lhs, fixed, windows, labels, form)
        sums |= dict(zip([tuple(t.index for t in term) for term in terms], values, strict=True))
    sizes = [axis.output for axis in form.axes]
    zero = jnp.zeros([_sizes(form)[label] for label in labels], _accumulator(form))
    stacked = jnp.stack([sums.get(index, zero) for index in itertools.product(*map(range, sizes))])
    return _arrange(stacked.reshape(*sizes, *zero.shape), [*_spatial(form), *labels], form.labels.out)


class Overlap(NamedTuple):
    """On one axis of a term, the positions where both arrays have data."""

    fixed: int  # first position in the fixed array
    moving: int  # first position in the moving array
    step: int  # from one position to the next in the moving array
    count: int


def _overlap(term: Term, tie: Ties, count: int) -> Overlap:
    first = max(0, -(term.start // tie.b_step))
    last = min(count - 1, (tie.b_size - 1 - term.start) // tie.b_step)
    return Overlap(first, term.start + tie.b_step * first, tie.b_step, last - first + 1)


def _contract(lhs, fixed, windows: list[tuple[Overlap, ...]], labels, form: Form) -> Iterator[jax.Array]:
    """Yields for each window the sum over positions and contracted features, as one matrix product."""
    for window in windows:
        counts = [axis.count for axis in window]
        moving = _slice(lhs, form.labels.lhs, [a.moving for a in window], counts, [a.step for a in window])
        still = _slice(fixed, form.labels.rhs, [a.fixed for a in window], counts, [1] * len(window))
        yield _matmul(moving, form.labels.lhs, still, form.labels.rhs, ["i", *_spatial(form)], labels, form)


def _correlate(lhs, fixed, windows: list[tuple[Overlap, ...]], labels, form: Form) -> Iterator[jax.Array]:
    """Yields for each window the sum over positions and contracted features, element by element.

    XLA does not vectorise a reduction over the outer dimensions. A loop over rows that adds whole rows to an
    accumulator does vectorise; only the accumulators are reduced, at the end. The batch is not looped over: a sharded
    batch stays sharded, and its one reduction comes last.
    """
    dtype = _accumulator(form)
    work = [*form.labels.lhs, "m"]
    fixed = _arrange(fixed, form.labels.rhs, work)
    lhs = lax.expand_dims(lhs, [lhs.ndim])
    loop = _plan(fixed, work)
    lhs, fixed, windows = _whole_blocks(lhs, fixed, windows, work, loop)

    def product(step, window: tuple[Overlap, ...]) -> jax.Array:
        """One step's rows of `lhs` times those of `fixed`; zero where the window has left `lhs`."""
        inside, still_at, moving_at, counts = True, [], [], []
        for axis, overlap in enumerate(window):
            if axis in loop:
                each = loop[axis]
                q = each.position(step)
                b = overlap.moving + overlap.step * (q - overlap.fixed)
                inside &= (b >= 0) & (b < lhs.shape[work.index(str(axis))])
                still_at.append(q)
                moving_at.append(b)
                counts.append(each.block)
            else:
                still_at.append(overlap.fixed)
                moving_at.append(overlap.moving)
                counts.append(overlap.count)
        still = _dynamic_slice(fixed, work, still_at, counts, [1] * len(window))
        moving = _dynamic_slice(lhs, work, moving_at, counts, [overlap.step for overlap in window])
        return jnp.where(inside, moving.astype(dtype) * still.astype(dtype), jnp.zeros((), dtype))

    steps = math.prod(each.trips for each in loop.values())
    spatial = [dimension for dimension, label in enumerate(work) if label.isdigit()]
    sums = []
    for group in _groups(windows):
        totals = [product(0, window) for window in group]
        if steps > 1:

            def add(step, totals, group=group):
                return [total + product(step, window) for total, window in zip(totals, group, strict=True)]

            totals = lax.fori_loop(1, steps, add, totals)
        sums += [total.sum(spatial) for total in totals]
    rest = [label for label in work if not label.isdigit()]
    contracted = jnp.stack(sums).sum(1 + rest.index("i"))
    rest.remove("i")
    return (_arrange(value, rest, labels) for value in contracted)


class Loop(NamedTuple):
    """How a loop runs over one axis: `trips` steps of `block` positions; the next one comes every `period` steps."""

    trips: int
    block: int
    period: int
    outermost: bool

    def position(self, step):
        """First position of a step; without the divisions where they change nothing."""
        step = step if self.period == 1 else step // self.period
        step = step if self.outermost else step % self.trips
        return step if self.block == 1 else step * self.block


def _plan(fixed: jax.Array, work: list[str]) -> dict[int, Loop]:
    """Loops over all spatial axes but the innermost, and takes several positions a step where a step would be small."""
    axes = [int(label) for label in work if label.isdigit()]
    looped = axes[: max(1, len(axes) - 1)]
    *outer, rows = (fixed.shape[work.index(str(axis))] for axis in looped)
    elements = math.prod(size for label, size in zip(work, fixed.shape, strict=True) if label not in map(str, looped))
    block = min(rows, -(-_ELEMENTS_IN_A_STEP // elements))
    trips = [*outer, -(-rows // block)]
    return {
        axis: Loop(trips[n], block if n == len(outer) else 1, math.prod(trips[n + 1 :]), outermost=n == 0)
        for n, axis in enumerate(looped)
    }


def _whole_blocks(lhs, fixed, windows: list[tuple[Overlap, ...]], work: list[str], loop: dict[int, Loop]):
    """Pads what is taken several positions a step, so that no block sticks out of either array."""
    for axis, each in loop.items():
        if each.block == 1:
            continue
        dimension = work.index(str(axis))
        length = each.trips * each.block
        starts = [window[axis].moving - window[axis].step * window[axis].fixed for window in windows]
        last = max(start + window[axis].step * (length - 1) for start, window in zip(starts, windows, strict=True))
        low, high = max(0, -min(starts)), max(0, last + 1 - lhs.shape[dimension])
        lhs = _pad_axis(lhs, dimension, low, high)
        fixed = _pad_axis(fixed, dimension, 0, length - fixed.shape[dimension])
        windows = [
            (*window[:axis], window[axis]._replace(moving=window[axis].moving + low), *window[axis + 1 :])
            for window in windows
        ]
    return lhs, fixed, windows


def _groups(windows: list) -> list[list]:
    """Cuts the windows into even groups of at most `_TERMS_IN_A_LOOP`."""
    number = -(-len(windows) // _TERMS_IN_A_LOOP)
    return [windows[n * len(windows) // number : (n + 1) * len(windows) // number] for n in range(number)]


def _ties(axis: Axis, short: str) -> Ties:
    """Solves `alpha * a - beta * b == c` for each position of the short index; drops what touches no data."""
    if short == "kernel":
        alpha, beta, a_size, b_size, short_size = axis.stride, axis.lhs_dilation, axis.output, axis.input, axis.kernel
        constants = [axis.low - axis.rhs_dilation * k for k in range(short_size)]
    elif short == "output":
        alpha, beta, a_size, b_size, short_size = (
            axis.rhs_dilation, axis.lhs_dilation, axis.kernel, axis.input, axis.output,
        )  # fmt: skip
        constants = [axis.low - axis.stride * p for p in range(short_size)]
    else:  # the kernel moves backwards, so it is flipped: k = kernel - 1 - b
        alpha, beta, a_size, b_size, short_size = axis.stride, axis.rhs_dilation, axis.output, axis.kernel, axis.input
        constants = [axis.low + axis.lhs_dilation * x - axis.rhs_dilation * (axis.kernel - 1) for x in range(short_size)]
    divisor = math.gcd(alpha, beta)
    a_step, b_step = beta // divisor, alpha // divisor
    ties = Ties((), a_step, b_step, a_size, b_size)
    terms = []
    for index, c in enumerate(constants):
        if c % divisor:
            continue
        phase = c // divisor * pow(b_step, -1, a_step) % a_step
        start = (alpha * phase - c) // beta
        first = max(0, -(start // b_step))  # the first position inside `b`
        if first < ties.count(phase) and start + b_step * first < b_size:
            terms.append(Term(index, phase, start))
    return ties._replace(terms=tuple(terms))


def _by_phase(ties: Sequence[Ties]) -> dict[tuple[int, ...], list[tuple[Term, ...]]]:
    phases: dict[tuple[int, ...], list[tuple[Term, ...]]] = {}
    for term in itertools.product(*(tie.terms for tie in ties)):
        phases.setdefault(tuple(t.phase for t in term), []).append(term)
    return phases


def _pad(moving: jax.Array, labels, ties: list[Ties]) -> tuple[jax.Array, list[Ties]]:
    """Pads the moving operand so that every window lies inside, and moves the starts accordingly."""
    config = [(0, 0, 0)] * moving.ndim
    moved = []
    for axis, tie in enumerate(ties):
        starts = [term.start for term in tie.terms]
        low = max([0, *(-start for start in starts)])
        last = max([0, *(start + tie.b_step * (tie.count(0) - 1) for start in starts)])
        config[labels.index(str(axis))] = (low, max(0, last - tie.b_size + 1), 0)
        moved.append(tie._replace(terms=tuple(term._replace(start=term.start + low) for term in tie.terms)))
    if any(low or high for low, high, _ in config):
        moving = lax.pad(moving, jnp.zeros((), moving.dtype), config)
    return moving, moved


def _interleave(parts: dict, ties: list[Ties], form: Form, shape: tuple[int, ...]) -> jax.Array:
    """Puts the phases of the output side by side, and cuts it to its size."""
    labels = form.labels.out
    dtype = _accumulator(form)
    zero = jnp.zeros([], dtype)
    counts = {str(axis): tie.count(0) for axis, tie in enumerate(ties)}
    features = iter(shape)
    part_shape = [counts[label] if label.isdigit() else next(features) for label in labels]
    for axis, tie in enumerate(ties):
        dimension = labels.index(str(axis))
        grouped: dict[tuple[int, ...], dict[int, jax.Array]] = {}
        for phase, part in parts.items():
            grouped.setdefault(phase[1:], {})[phase[0]] = part
        parts = {rest: _interleave_axis(by_phase, dimension, tie, zero) for rest, by_phase in grouped.items()}
        part_shape[dimension] = tie.a_size
    return parts.get((), None) if parts else jnp.broadcast_to(zero, part_shape)


def _interleave_axis(by_phase: dict[int, jax.Array], dimension: int, tie: Ties, zero: jax.Array) -> jax.Array:
    if tie.a_step == 1:
        return by_phase[0]
    some = next(iter(by_phase.values()))
    if len(by_phase) == 1:  # the rest is zero: dilate
        (phase,) = by_phase
        length = (some.shape[dimension] - 1) * tie.a_step + 1
        config = [(0, 0, 0)] * some.ndim
        config[dimension] = (phase, tie.a_size - phase - length, tie.a_step - 1)
        return lax.pad(some, zero, config)
    zeros = jnp.broadcast_to(zero, some.shape)
    stacked = jnp.stack([by_phase.get(phase, zeros) for phase in range(tie.a_step)], dimension + 1)
    shape = list(some.shape)
    shape[dimension] *= tie.a_step
    return lax.slice_in_dim(stacked.reshape(shape), 0, tie.a_size, axis=dimension)


def _matmul(a, a_labels, b, b_labels, contracted, out_labels, form: Form) -> jax.Array:
    """Contracts the labels in `contracted` by a matrix product, one for each group."""
    a, a_labels = _drop_group(a, a_labels, form)
    b, b_labels = _drop_group(b, b_labels, form)
    batch = [label for label in a_labels if label == "g"]
    contracted = [label for label in contracted if label in a_labels and label in b_labels]
    free_a = [label for label in a_labels if label not in (*batch, *contracted)]
    free_b = [label for label in b_labels if label not in (*batch, *contracted)]

    def dimensions(labels, wanted):
        return [labels.index(label) for label in wanted]

    out = lax.dot_general(
        a,
        b,
        (
            (dimensions(a_labels, contracted), dimensions(b_labels, contracted)),
            (dimensions(a_labels, batch), dimensions(b_labels, batch)),
        ),
        precision=form.precision,
        preferred_element_type=_accumulator(form),
    )
    return _arrange(out, [*batch, *free_a, *free_b], out_labels)


def _drop_group(array: jax.Array, labels, form: Form):
    if form.groups > 1:
        return array, list(labels)
    return lax.squeeze(array, [labels.index("g")]), [label for label in labels if label != "g"]


def _split_groups(array: jax.Array, labels, form: Form) -> jax.Array:
    sizes = _sizes(form)
    operand = "input" if "b" in labels else "kernel"
    return array.reshape([
        getattr(form.axes[int(label)], operand) if label.isdigit() else sizes[label] for label in labels
    ])  # fmt: skip


def _arrange(array: jax.Array, labels: Sequence[str], target: Sequence[str]) -> jax.Array:
    """Transposes to the order of `target`; a label that the array lacks becomes a dimension of size 1."""
    present = [label for label in target if label in labels]
    array = lax.transpose(array, [list(labels).index(label) for label in present])
    return lax.expand_dims(array, [axis for axis, label in enumerate(target) if label not in labels])


def _window(moving, labels, starts: Sequence[int], counts: Sequence[int], ties: Sequence[Ties]) -> jax.Array:
    return _slice(moving, labels, starts, counts, [tie.b_step for tie in ties])


def _slice(array, labels, starts: Sequence[int], counts: Sequence[int], steps: Sequence[int]) -> jax.Array:
    low, high, stride = [0] * array.ndim, list(array.shape), [1] * array.ndim
    for axis, (start, count, step) in enumerate(zip(starts, counts, steps, strict=True)):
        dimension = labels.index(str(axis))
        low[dimension], high[dimension], stride[dimension] = start, start + (count - 1) * step + 1, step
    return lax.slice(array, low, high, stride)


def _dynamic_slice(array, labels, starts: Sequence, counts: Sequence[int], steps: Sequence[int]) -> jax.Array:
    """As `_slice`, where starts may be traced."""
    at: list = [0] * array.ndim
    size, stride = list(array.shape), [1] * array.ndim
    for axis, (start, count, step) in enumerate(zip(starts, counts, steps, strict=True)):
        dimension = labels.index(str(axis))
        at[dimension], size[dimension], stride[dimension] = start, (count - 1) * step + 1, step
    return lax.slice(lax.dynamic_slice(array, at, size), [0] * array.ndim, size, stride)


def _pad_axis(array: jax.Array, dimension: int, low: int, high: int) -> jax.Array:
    config = [(low, high, 0) if axis == dimension else (0, 0, 0) for axis in range(array.ndim)]
    return lax.pad(array, jnp.zeros((), array.dtype), config)


def _position(array: jax.Array, labels, position: Sequence[int]) -> jax.Array:
    return _slice(array, labels, position, [1] * len(position), [1] * len(position))


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    total, *rest = terms
    for term in rest:
        total = total + term
    return total


def _sizes(form: Form) -> dict[str, int]:
    return {"b": form.batch, "g": form.groups, "i": form.in_features, "m": form.out_features}


def _spatial(form: Form) -> list[str]:
    return [str(axis) for axis in range(len(form.axes))]


def _accumulator(form: Form) -> jnp.dtype:
    return jnp.dtype(jnp.float64 if jnp.float64 in (form.dtype, form.out_dtype) else jnp.float32)
