"""Lower bounds hold whatever XLA leaves out, whichever branch runs, and whatever the data are."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jds import cost

ARITHMETIC = cost.Peak("arithmetic", {"float32": 1.0}, bytes=math.inf, source="")
MEMORY = cost.Peak("memory", {"float32": math.inf}, bytes=1.0, source="")
SIZE = 24


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def least(fun, *args, trip_counts=None):
    """Returns the least FLOPs and bytes."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found = cost.analyze(fun, *args, trip_counts=trip_counts)
    return tuple(cost.estimate(found, peak).total.seconds for peak in (ARITHMETIC, MEMORY))


X = shape(8, 8)
PRODUCT, ARRAY = 2 * 8**3, 4 * 8 * 8
FLAG = shape(dtype=jnp.bool_)


def in_loop(body, **options):
    return lambda x, w: lax.scan(lambda carry, _: (body(carry, x, w), None), x, None, length=10, **options)[0]


def pair_in_loop(x, w):
    return lax.scan(lambda carry, _: ((carry[0] @ w + carry[1] @ w, carry[1]), None), (x, w), None, length=10)[0][0]


@pytest.mark.parametrize(
    ("fun", "args", "flops"),
    [
        (lambda x, w: x @ w, (X, X), PRODUCT),
        # Equal products.
        (lambda x, w: jnp.tanh(x @ w) * (x @ w), (X, X), PRODUCT + 64),
        (lambda x, w: x @ w + (w.T @ x.T).T, (X, X), PRODUCT + 64),
        (lambda x, w: x @ w + (x * 1.0 + 0.0) @ w, (X, X), PRODUCT + 64),
        (lambda x, w: jax.checkpoint(jnp.matmul)(x, w) + x @ w, (X, X), PRODUCT + 64),
        # Not equal.
        (lambda x, w: (x * 2.0) @ w + (x * 3.0) @ w, (X, X), 2 * PRODUCT + 64),
        (lambda x, w: x @ w @ w, (X, X), 2 * PRODUCT),
        # Nothing depends on it.
        (lambda x, w: jnp.where(jnp.zeros((8, 8), bool), x @ w, x), (X, X), 0),
        # Of `where`, both are computed.
        (lambda flag, x, w: jnp.where(flag, x @ w, w @ x), (FLAG, X, X), 2 * PRODUCT + 64),
        (lambda x, w: (x @ w) * 0, (shape(8, 8, dtype=jnp.int32),) * 2, 0),
        (lambda x: x @ jnp.eye(8) + jnp.eye(8) @ jnp.eye(8), (X,), PRODUCT + 64),
        (lambda x, w: (x @ w)[:2], (X, X), PRODUCT / 4),
        # What does not change in a loop.
        (in_loop(lambda carry, x, w: jnp.tanh(carry) * (x @ w)), (X, X), PRODUCT + 640),
        (in_loop(lambda carry, x, w: carry @ w), (X, X), 10 * PRODUCT),
        (pair_in_loop, (X, X), 11 * PRODUCT + 640),
        (lambda x, w: lax.map(lambda row: (x @ w) @ row, x), (X, X), PRODUCT + 8 * 2 * 64),
        # The cheapest branch.
        (lambda flag, x, w: lax.cond(flag, lambda: x @ w, lambda: x), (FLAG, X, X), 0),
        (lambda flag, x, w: lax.cond(flag, lambda: x @ w, lambda: x @ w @ w), (FLAG, X, X), PRODUCT),
        (
            lambda flag, x, w: lax.cond(
                flag, lambda: lax.cond(x[0, 0] > 0, lambda: x @ w @ w @ w, lambda: x @ w @ w), lambda: x @ w @ w @ w @ w
            ),
            (FLAG, X, X),
            2 * PRODUCT,
        ),
        (
            in_loop(lambda carry, x, w: lax.cond(carry[0, 0] > 0, lambda: carry @ w, lambda: carry @ w @ w)),
            (X, X),
            10 * PRODUCT,
        ),
        # It may not run at all.
        (lambda x, w: lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ w, x), (X, X), 0),
        # Padding is not multiplied.
        (
            lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
            (shape(1, 4, 4, 2), shape(3, 3, 2, 2)),
            2 * 10 * 10 * 2 * 2,
        ),
        # Factors that are constants may be merged, and an algorithm for sorting or for Fourier transforms chosen.
        (lambda x: jnp.sort(x * 2.0 * 3.0 + 1.0), (X,), 0),
        (lambda x: jnp.broadcast_to(x[:, None], (8, 100, 8)).sum(1), (X,), 0),
    ],
)
def test_work_that_may_be_left_out_is_not_in_the_bound(fun, args, flops):
    assert least(fun, *args)[0] == flops


TABLE = shape(1000, 8)
ROW, IDS = 4 * 8, shape(4, dtype=jnp.int32)


@pytest.mark.parametrize(
    ("fun", "args", "bytes"),
    [
        # All indices may be the same.
        (lambda table, i: table[i], (TABLE, IDS), ROW + 16 + 4 * ROW),
        *(
            (lambda table, i, fun=fun: fun(table)[i], (TABLE, IDS), ROW + 16 + 4 * ROW)
            for fun in (
                lambda table: table * 8.0,
                lambda table: jnp.where(table > 0, table, 0.0),
                lambda table: jnp.exp(table.T).T,
                lambda table: table[::-1],
            )
        ),
        # They may be padding, or of the other array.
        (lambda table, i: jnp.pad(table, ((1, 1), (0, 0)))[i + 1], (TABLE, IDS), 16 + 4 * ROW),
        (lambda table, i: jnp.concatenate([table, table * 2.0])[i], (TABLE, IDS), 16 + 4 * ROW),
        (lambda table: jnp.roll(table, 3, axis=0)[:2], (TABLE,), 2 * ROW),
        (lambda table: table[:2] + table[:2] * 2.0, (TABLE,), 4 * ROW),
        (lambda table, i: lax.map(lambda i: table[i], i), (TABLE, IDS), ROW + 16 + 4 * ROW),
        # Only one branch reads the table.
        (lambda flag, table, x: lax.cond(flag, lambda: table.sum(0), lambda: x), (FLAG, TABLE, shape(8)), 0),
        (lambda flag, table: lax.cond(flag, lambda: table.sum(0), lambda: table.max(0)), (FLAG, TABLE), 1000 * ROW),
        (
            lambda flag, table: lax.cond(flag, lambda: table, lambda: table[:1] * 0.0 + jnp.ones((1000, 8))).sum(0),
            (FLAG, TABLE),
            ROW,
        ),
        (lambda flag, table, x: jnp.where(flag, table, x), (FLAG, TABLE, TABLE), 1 + 1000 * ROW),
        # In place.
        (lambda table, row: lax.dynamic_update_slice(table, row, (3, 0)), (TABLE, shape(1, 8)), 2 * ROW),
        (
            lambda table, row: lax.fori_loop(
                0, 5, lambda i, table: lax.dynamic_update_slice(table, row, (i, 0)), table
            ),
            (TABLE, shape(1, 8)),
            ROW + 5 * ROW,
        ),
        (lambda table, row: lax.dynamic_update_slice(table * 2.0, row, (3, 0)), (TABLE, shape(1, 8)), 2000 * ROW),
        # Between its strides.
        (
            lambda x, k: lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
            (shape(1, 8, 8, 2), shape(1, 1, 2, 3)),
            4 * (16 * 2 + 6 + 16 * 3),
        ),
        (lambda table: table + 1.0, (TABLE,), 2000 * ROW),
        # An argument that is read twice, and a result that is returned twice.
        (lambda x, w: (x @ w, x @ w), (X, X), 3 * ARRAY),
    ],
)
def test_arrays_that_may_not_be_read_are_not_in_the_bound(fun, args, bytes):
    assert least(fun, *args)[1] == bytes


# Steps of random programs: of an array of SIZE rows, and of one that is square.
STEPS = [
    lambda x, w: x * 2.0,
    lambda x, w: jnp.tanh(x) + x[:1],
    lambda x, w: x[::-1],
    lambda x, w: jnp.pad(x[2:-3], ((1, 4), (0, 0)), constant_values=0.5),
    lambda x, w: lax.pad(x, 0.0, ((-2, -3, 0), (0, 0, 0))).repeat(3, axis=0)[:SIZE],
    lambda x, w: lax.pad(x, 1.0, ((-1, 5, 1), (0, 0, 0)))[:SIZE],
    lambda x, w: jnp.concatenate([x[5:], x[:5] * 3.0]),
    lambda x, w: jnp.concatenate([w, x])[:SIZE],
    lambda x, w: x[jnp.arange(SIZE) // 3 + 2],
    lambda x, w: x.at[3].set(w[1]),
    lambda x, w: x.at[jnp.arange(4) * 9].add(w[:4]),
    lambda x, w: lax.dynamic_update_slice(x, w[:5], (4, 0)),
    lambda x, w: jnp.broadcast_to(lax.dynamic_slice(x, (7, 0), (2, SIZE)).sum(0), x.shape) * w,
    lambda x, w: jnp.stack([x[:2].T @ w[:2], x[1:3].T @ w[:2]]).sum(0),
    lambda x, w: x @ w.T,
    lambda x, w: lax.conv_general_dilated(
        x[None], w[:3, :, None] * jnp.ones(SIZE), (3,), ((0, 0),), dimension_numbers=("NHC", "HIO", "NHC")
    )[0].repeat(3, axis=0),
    lambda x, w: lax.reduce_window(x, 0.0, lax.add, (2, 1), (4, 1), "VALID").repeat(4, axis=0),
]
CONDITIONALS = [
    lambda x, w: lax.cond(w[0, 0] > 0, lambda: x * 2.0, lambda: x[:1] * w),
    lambda x, w: lax.cond(w[0, 0] > 0, lambda: jnp.ones_like(x), lambda: x @ w),
]
ENDS = [
    lambda x, w: x,
    lambda x, w: x[:4],
    lambda x, w: x[jnp.zeros(3, int)],
    lambda x, w: x[3:5, 1:2].sum(),
    lambda x, w: x.sum(0),
]


@pytest.mark.parametrize("seed", range(12))
def test_no_more_of_an_argument_is_in_the_bound_than_changes_a_result(seed):
    draw = random.Random(seed)
    # Of a conditional's results, all are computed.
    steps, end = draw.sample(STEPS, draw.randint(1, 3)), draw.choice([*ENDS, *CONDITIONALS])

    def fun(x, w):
        for step in steps:
            x = step(x, w)
        return end(x, w)

    numbers = np.random.default_rng(seed)
    x, w = (numbers.uniform(0.5, 1.5, (SIZE, SIZE)).astype(np.float32) for _ in range(2))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        result = jax.eval_shape(fun, x, w)
        weights = numbers.uniform(1, 2, result.shape).astype(np.float32)
        read = min(
            sum(
                np.count_nonzero(gradient)
                for gradient in jax.grad(lambda x, w: jnp.sum(fun(x, w) * weights), (0, 1))(x, sign * w)
            )
            for sign in (1, -1)
        )
    assert least(fun, x, w)[1] <= 4 * (read + result.size + 1)


@pytest.mark.parametrize("seed", range(6))
def test_no_more_products_are_in_the_bound_than_in_compiled_programs(seed):
    draw = random.Random(seed)
    x, w = jnp.ones((SIZE, SIZE)), jnp.ones((SIZE, SIZE))

    def loop(first, arrays, depth):
        return lax.scan(lambda carry, _: (grow([*arrays, carry], depth), None), first, None, length=3)[0]

    def grow(arrays, depth):
        """Adds arrays, each computed from some that are there."""
        for _ in range(6):
            a, b = draw.choice(arrays), draw.choice(arrays)
            kinds = ["product", "product", "sum", "transpose", "scaled", *(["loop"] if depth else [])]
            match draw.choice(kinds):
                case "product":
                    arrays.append(a @ b)
                case "sum":
                    arrays.append(a + b)
                case "transpose":
                    arrays.append(a.T)
                case "scaled":
                    arrays.append(a * draw.choice([0.0, 1.0, 2.0]))
                case _:
                    arrays.append(loop(a, list(arrays), depth - 1))
        return arrays[-1] + arrays[-2]

    def fun(x, w):
        return grow([x, w], 1)

    state = draw.getstate()
    bound = least(fun, x, w)[0]
    draw.setstate(state)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        compiled = cost.xla(fun, x, w).instructions
    assert bound <= sum(instruction.flops * instruction.times for instruction in compiled)
