"""Convolutions as sums of shifted products, in plain `jax.lax`.

XLA fuses a sum of shifted products into one loop over contiguous channels, which its own grouped convolution on the
CPU does not do. One idea serves the forward pass and every derivative: the index with the fewest positions (the
kernel's, the output's or the input's) is written out, term by term, and each term is a product of whole arrays.

On each axis a term ties a position `a` of one array to a position `b` of another by `alpha * a - beta * b == c`. Its
solutions are `a = phase + a_step * q`, `b = start + b_step * q`. Where `a` belongs to the output, the outputs of each
phase are summed and the phases interleaved, so that a strided input gradient multiplies nothing by zero. Where `a`
belongs to the other operand, both are multiplied and summed to one number a channel.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jds.ops.recognise import Axis, Form

# Terms accumulated together in one loop of a kernel gradient: few enough that their accumulators stay in the cache.
_TERMS_IN_A_LOOP = 12
# Elements that one step of that loop should at least have, for the loop's overhead not to show.
_ELEMENTS_IN_A_STEP = 8192
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


def shifted(lhs: jax.Array, rhs: jax.Array, *, form: Form) -> jax.Array:
    """Computes a pointwise, depthwise or grouped convolution, or any derivative of one.

    Args:
      lhs, rhs: the operands of `lax.conv_general_dilated`, in the layouts of `form.labels`.
      form: what `recognise` read off the equation.

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
        out = _scatter(lhs, form.labels.lhs, rhs, form.labels.rhs, form)
    else:
        flipped = lax.rev(rhs, [form.labels.rhs.index(axis) for axis in _spatial(form)])
        out = _scatter(flipped, form.labels.rhs, lhs, form.labels.lhs, form)
    return out.reshape(form.out_shape).astype(form.out_dtype)


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
    lhs, ties = _pad(lhs, form.labels.lhs, ties)
    labels = [label for label in form.labels.out if not label.isdigit()]
    sums: dict[tuple[int, ...], jax.Array] = {}
    for phase, terms in _by_phase(ties).items():
        counts = [tie.count(p) for tie, p in zip(ties, phase, strict=True)]
        steps = [tie.a_step for tie in ties]
        fixed = _slice(rhs, form.labels.rhs, phase, counts, steps)
        starts = [[t.start for t in term] for term in terms]
        if form.kind == "pointwise":
            values: Iterable[jax.Array] = (
                _matmul(
                    _window(lhs, form.labels.lhs, start, counts, ties), form.labels.lhs,
                    fixed, form.labels.rhs, ["i", *_spatial(form)], labels, form,
                )
                for start in starts
            )  # fmt: skip
        else:
            values = _correlate(lhs, fixed, starts, counts, ties, labels, form)
        sums |= dict(zip([tuple(t.index for t in term) for term in terms], values, strict=True))
    sizes = [axis.output for axis in form.axes]
    zero = jnp.zeros([_sizes(form)[label] for label in labels], _accumulator(form))
    stacked = jnp.stack([sums.get(index, zero) for index in itertools.product(*map(range, sizes))])
    return _arrange(stacked.reshape(*sizes, *zero.shape), [*_spatial(form), *labels], form.labels.out)


def _correlate(lhs, fixed, starts: list[list[int]], counts: list[int], ties: list[Ties], labels, form: Form):
    """Yields the sum over positions of `lhs` shifted by each of `starts`, times `fixed`.

    XLA does not vectorise a reduction over the outer dimensions. A loop over rows that adds whole rows to an
    accumulator does vectorise; only the accumulators are reduced, at the end. The batch is not looped over: a sharded
    batch stays sharded, and its one reduction comes last.
    """
    spatial = _spatial(form)
    lhs_labels = form.labels.lhs
    work = [*lhs_labels, "m"]
    fixed = _arrange(fixed, form.labels.rhs, work)
    lhs = lax.expand_dims(lhs, [lhs.ndim])
    order = sorted(range(len(spatial)), key=lambda axis: lhs_labels.index(spatial[axis]))
    *outer, rows = order[: max(1, len(order) - 1)]
    block, lhs, fixed = _blocks(lhs, fixed, rows, counts, ties, work)
    size = [1 if axis in outer else block if axis == rows else counts[axis] for axis in range(len(spatial))]
    trips = [counts[axis] for axis in outer] + [fixed.shape[work.index(spatial[rows])] // block]
    dtype = _accumulator(form)

    def offsets(step):
        """Start of this step's rows, on each spatial axis, in units of `q`."""
        where: list = [0] * len(spatial)
        where[rows] = step % trips[-1] * block
        for position, axis in enumerate(outer):
            where[axis] = step // math.prod(trips[position + 1 :]) % trips[position]
        return where

    def products(step, group):
        where = offsets(step)
        row = _dynamic(fixed, work, where, size, [1] * len(size)).astype(dtype)
        for start in group:
            at = [s + tie.b_step * w for s, tie, w in zip(start, ties, where, strict=True)]
            yield _dynamic(lhs, work, at, size, [tie.b_step for tie in ties]).astype(dtype) * row

    contracted = [axis for axis, label in enumerate(work) if label.isdigit()]
    reduced = []
    for group in _groups(starts):
        if math.prod(trips) == 1:
            accumulators = tuple(products(0, group))
        else:
            shape = [max(a, b) for a, b in zip(
                _dynamic(fixed, work, [0] * len(size), size, [1] * len(size)).shape,
                [s if not label.isdigit() else 1 for s, label in zip(lhs.shape, work, strict=True)],
                strict=True,
            )]  # fmt: skip
            accumulators = lax.fori_loop(
                0,
                math.prod(trips),
                lambda step, sums, group=group: tuple(
                    total + product for total, product in zip(sums, products(step, group), strict=True)
                ),
                (jnp.zeros(shape, dtype),) * len(group),
            )
        reduced.append(jnp.stack(accumulators).sum([axis + 1 for axis in contracted]))
    rest = [label for label in work if not label.isdigit()]
    summed = jnp.concatenate(reduced).sum(1 + rest.index("i"))
    rest.remove("i")
    return (_arrange(value, rest, labels) for value in summed)


def _blocks(lhs, fixed, rows: int, counts: list[int], ties: list[Ties], work) -> tuple[int, jax.Array, jax.Array]:
    """Chooses how many rows a step takes, and pads both operands to a whole number of such blocks."""
    dimension = work.index(str(rows))
    others = math.prod(size for axis, size in enumerate(fixed.shape) if axis != dimension and not _is_outer(work, axis, rows))
    block = min(counts[rows], -(-_ELEMENTS_IN_A_STEP // max(others, 1)))
    excess = -counts[rows] % block
    if excess:
        fixed = _pad_end(fixed, dimension, excess)
        lhs = _pad_end(lhs, dimension, excess * ties[rows].b_step)
    return block, lhs, fixed


def _is_outer(work, dimension: int, rows: int) -> bool:
    label = work[dimension]
    return label.isdigit() and dimension < work.index(str(rows))


def _pad_end(array: jax.Array, dimension: int, excess: int) -> jax.Array:
    config = [(0, excess if axis == dimension else 0, 0) for axis in range(array.ndim)]
    return lax.pad(array, jnp.zeros((), array.dtype), config)


def _groups(starts: list[list[int]]) -> list[list[list[int]]]:
    """Cuts the terms into even groups of at most `_TERMS_IN_A_LOOP`."""
    number = -(-len(starts) // _TERMS_IN_A_LOOP)
    return [starts[n * len(starts) // number : (n + 1) * len(starts) // number] for n in range(number)]


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
        last = start + b_step * (ties.count(phase) - 1)
        if phase < a_size and last >= 0 and start < b_size:
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


def _dynamic(array, labels, starts: Sequence, counts: Sequence[int], steps: Sequence[int]) -> jax.Array:
    """As `_slice`, where starts may be traced."""
    at: list = [0] * array.ndim
    size, stride = list(array.shape), [1] * array.ndim
    for axis, (start, count, step) in enumerate(zip(starts, counts, steps, strict=True)):
        dimension = labels.index(str(axis))
        at[dimension], size[dimension], stride[dimension] = start, (count - 1) * step + 1, step
    return lax.slice(lax.dynamic_slice(array, at, size), [0] * array.ndim, size, stride)


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
    return jnp.promote_types(jnp.promote_types(form.dtype, form.out_dtype), jnp.float32)
