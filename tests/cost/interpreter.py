"""Evaluates one equation number by number and tallies every operation."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass
class Tally:
    """The operations done, in the terms of `jds.cost.Counts`."""

    macs: int = 0
    flops: int = 0
    transcendentals: int = 0
    integer_operations: int = 0


TALLY = Tally()


def did(value, count=1):
    """Tallies `count` operations on numbers of this value's type."""
    if isinstance(value, bool | int | np.bool_ | np.integer):
        TALLY.integer_operations += count
    else:
        TALLY.flops += count * (2 if isinstance(value, complex | np.complexfloating) else 1)


def add(a, b):
    did(a)
    return a + b


def multiply(a, b):
    did(a, 3 if isinstance(a, complex | np.complexfloating) else 1)
    return a * b


def less(a, b):
    did(a)
    return a < b


def of_each(fun, *, transcendental=False):
    """An element-wise operation; comparisons count in the type of their operands."""

    def scalar(*values):
        if transcendental:
            TALLY.transcendentals += 1
        else:
            did(values[-1])
        return fun(*values)

    def run(params, *arrays):
        del params
        return np.frompyfunc(scalar, len(arrays), 1)(*arrays)

    return run


def dot_general(params, lhs, rhs):
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = params["dimension_numbers"]

    def matrices(array, contract, batch, last):
        free = [axis for axis in range(array.ndim) if axis not in (*contract, *batch)]
        order = (*batch, *free, *contract) if last else (*batch, *contract, *free)
        shapes = [[array.shape[axis] for axis in axes] for axes in (batch, free, contract)]
        sizes = [math.prod(shape) for shape in shapes]
        flat = array.transpose(order).reshape(sizes if last else (sizes[0], sizes[2], sizes[1]))
        return flat, shapes[0], shapes[1]

    left, batch, rows = matrices(lhs, lhs_contract, lhs_batch, True)
    right, _, columns = matrices(rhs, rhs_contract, rhs_batch, False)
    out = np.empty((left.shape[0], left.shape[1], right.shape[2]), object)
    for b, i, j in np.ndindex(*out.shape):
        out[b, i, j] = multiply_add(zip(left[b, i], right[b, :, j], strict=True))
    return out.reshape(*batch, *rows, *columns)


def multiply_add(pairs):
    total = None
    for a, b in pairs:
        TALLY.macs += 1
        total = add(type(a)(0) if total is None else total, multiply(a, b))
    return 0 if total is None else total


def convolution(params, lhs, rhs, *, count_padding):
    """Computes every output from every tap; taps on padding are zeros, or skipped."""
    numbers = params["dimension_numbers"]
    lhs, rhs = lhs.transpose(numbers.lhs_spec), rhs.transpose(numbers.rhs_spec)
    groups, batch_groups = params["feature_group_count"], params["batch_group_count"]
    lows, highs = zip(*params["padding"], strict=True)
    spatial = [
        (low + (size - 1) * dilation + 1 + high - (kernel - 1) * step - 1) // stride + 1
        for size, kernel, stride, low, high, dilation, step in zip(
            lhs.shape[2:],
            rhs.shape[2:],
            params["window_strides"],
            lows,
            highs,
            params["lhs_dilation"],
            params["rhs_dilation"],
            strict=True,
        )
    ]
    batch = lhs.shape[0] // batch_groups
    out = np.empty((batch, rhs.shape[0], *spatial), object)
    per_group = rhs.shape[0] // (groups * batch_groups)
    for place in np.ndindex(*out.shape):
        image, filter_, *positions = place
        group = filter_ // per_group
        pairs = []
        for feature, *taps in np.ndindex(*rhs.shape[1:]):
            at = [
                position * stride + tap * step - low
                for position, stride, tap, step, low in zip(
                    positions, params["window_strides"], taps, params["rhs_dilation"], lows, strict=True
                )
            ]
            if any(a % dilation for a, dilation in zip(at, params["lhs_dilation"], strict=True)):
                continue  # a hole between dilated inputs
            at = [a // dilation for a, dilation in zip(at, params["lhs_dilation"], strict=True)]
            inside = all(0 <= a < size for a, size in zip(at, lhs.shape[2:], strict=True))
            row = image + batch * group if batch_groups > 1 else image
            channel = feature if batch_groups > 1 else group * rhs.shape[1] + feature
            if inside or count_padding:
                value = lhs[(row, channel, *at)] if inside else type(rhs.flat[0])(0)
                pairs.append((value, rhs[(filter_, feature, *taps)]))
        out[place] = multiply_add(pairs)
    return out.transpose(np.argsort(numbers.out_spec))


def fold(fun, values):
    values = list(values)
    return functools.reduce(fun, values[1:], values[0])


def reduction(fun):
    def run(params, array):
        axes = params["axes"]
        kept = [axis for axis in range(array.ndim) if axis not in axes]
        flat = array.transpose(*kept, *axes).reshape(*(array.shape[axis] for axis in kept), -1)
        out = np.empty(flat.shape[:-1], object)
        for place in np.ndindex(*out.shape):
            out[place] = fold(fun, flat[place])
        return out

    return run


def larger(a, b):
    return b if less(a, b) else a


def smaller(a, b):
    return a if less(a, b) else b


def logical(fun):
    def run(a, b):
        did(a)
        return fun(a, b)

    return run


def arg_reduction(fun):
    def run(params, array):
        def better(i_a, i_b):
            return i_b if fun(i_a[1], i_b[1]) is not i_a[1] else i_a

        (axis,) = params["axes"]
        moved = np.moveaxis(array, axis, -1)
        out = np.empty(moved.shape[:-1], object)
        for place in np.ndindex(*out.shape):
            out[place] = fold(better, enumerate(moved[place]))[0]
        return out

    return run


def running(fun):
    def run(params, array):
        moved = np.moveaxis(array, params["axis"], -1)
        moved = moved[..., ::-1] if params["reverse"] else moved
        out = np.empty(moved.shape, object)
        for place in np.ndindex(*moved.shape[:-1]):
            out[place] = list(itertools.accumulate(moved[place], fun))
        out = out[..., ::-1] if params["reverse"] else out
        return np.moveaxis(out, -1, params["axis"])

    return run


def log_add(a, b):
    low, high = (a, b) if less(a, b) else (b, a)
    TALLY.transcendentals += 2
    return add(high, math.log1p(math.exp(add(low, -high))))


def window_places(params, shape, out):
    """Yields, for each output, the places of its window in the undilated array, None for padding."""
    ones = (1,) * len(shape)
    base, dilation = params.get("base_dilation", ones), params.get("window_dilation", ones)
    lows = [low for low, _ in params["padding"]]
    for place in np.ndindex(*out):
        taps = []
        for tap in np.ndindex(*params["window_dimensions"]):
            at = [
                p * stride + t * step - low
                for p, stride, t, step, low in zip(place, params["window_strides"], tap, dilation, lows, strict=True)
            ]
            if any(a % b for a, b in zip(at, base, strict=True)):
                continue
            at = tuple(a // b for a, b in zip(at, base, strict=True))
            taps.append(at if all(0 <= a < size for a, size in zip(at, shape, strict=True)) else None)
        yield place, taps


def window_reduction(fun, start):
    def run(params, array, *, count_padding, out):
        result = np.empty(out, object)
        for place, taps in window_places(params, array.shape, out):
            values = [start if tap is None else array[tap] for tap in taps if tap is not None or count_padding]
            result[place] = fold(fun, values) if values else start
        return result

    return run


def select_and_scatter_add(params, source, array, *, count_padding):
    assert count_padding
    out = np.full(array.shape, 0.0, object)
    for place, taps in window_places(params, array.shape, source.shape):
        best = fold(lambda a, b: a if b is None or (a is not None and not less(array[a], array[b])) else b, taps)
        out[best] = add(out[best], source[place])
    return out


def scalars(fun):
    """A function of one scalar as JAX computes it."""
    return lambda *values: np.asarray(fun(*map(jnp.asarray, values))).item()


def named(name):
    return scalars(functools.partial(getattr(jax.lax, name)))
