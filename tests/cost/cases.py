"""For each primitive: a function with one equation of it, random arguments, and its evaluation by the interpreter."""

import functools
import math

import jax
import jax.extend.random
import jax.numpy as jnp
from jax import lax

from tests.cost import algorithms, interpreter


def sizes(rng, rank, low=1, high=4):
    return tuple(int(size) for size in rng.integers(low, high + 1, rank))


def floats(rng, *shape):
    return jnp.asarray(rng.uniform(0.1, 0.9, shape), jnp.float32)


def integers(rng, *shape, high=30):
    return jnp.asarray(rng.integers(0, high, shape), jnp.int32)


def above_one(rng, *shape):
    return 1 + floats(rng, *shape)


def complexes(rng, *shape):
    return lax.complex(floats(rng, *shape), floats(rng, *shape))


def same_shape(kind, count):
    def make(rng):
        shape = sizes(rng, 2)
        return [kind(rng, *shape) for _ in range(count)]

    return make


def elements(name, count=1, kind=floats, transcendental=False, fun=None):
    return fun or getattr(lax, name), same_shape(kind, count), interpreter.of_each(
        interpreter.scalars(fun or getattr(lax, name)), transcendental=transcendental
    )  # fmt: skip


ONE_SPECIAL = """
    exp exp2 log log1p expm1 sin cos tan tanh asin acos atan sinh cosh asinh atanh sqrt rsqrt cbrt logistic erf erfc erf_inv
    lgamma digamma bessel_i0e bessel_i1e
"""
TWO_SPECIAL = "pow atan2 igamma igammac igamma_grad_a polygamma zeta"

# For each primitive: a function that has one equation of it, random arguments, and its evaluation by the interpreter.
ELEMENTS = {
    **{name: elements(name) for name in ("neg", "abs", "sign", "floor", "ceil", "is_finite", "square")},
    "round": elements("round", fun=lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)),
    "reduce_precision": elements("reduce_precision", fun=lambda x: lax.reduce_precision(x, 5, 7)),
    "convert_element_type": elements("convert_element_type", fun=lambda x: lax.convert_element_type(x, jnp.int32)),
    **{name: elements(name, 2) for name in ("add", "sub", "mul", "div", "rem", "max", "min", "nextafter")},
    **{name: elements(name, 2) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "clamp": elements("clamp", 3),
    "select_n": elements("select_n", 2, fun=lambda x, y: lax.select_n(jnp.asarray(True), x, y)),
    **{
        name: elements(name, 2, integers, fun=fun)
        for name, fun in {
            "and": lax.bitwise_and,
            "or": lax.bitwise_or,
            "xor": lax.bitwise_xor,
            "shift_left": lax.shift_left,
            "shift_right_arithmetic": lax.shift_right_arithmetic,
            "shift_right_logical": lax.shift_right_logical,
        }.items()
    },
    "not": elements("not", 1, integers, fun=lax.bitwise_not),
    "population_count": elements("population_count", 1, integers),
    "clz": elements("clz", 1, integers),
    "integer_pow": (lambda x: lax.integer_pow(x, 13), same_shape(floats, 1), algorithms.integer_pow),
    **{name: elements(name, transcendental=True) for name in ONE_SPECIAL.split()},
    "acosh": elements("acosh", fun=lambda x: lax.acosh(x), kind=above_one, transcendental=True),
    **{name: elements(name, 2, transcendental=True) for name in TWO_SPECIAL.split()},
    "regularized_incomplete_beta": elements("betainc", 3, fun=lax.betainc, transcendental=True),
}


def convolution_case(rng):
    """Draws a convolution: grouped or batch-grouped, strided, dilated on either side, padded or cropped."""
    rank = int(rng.integers(1, 3))
    groups, batch_groups = [(1, 1), (2, 1), (3, 1), (1, 2)][rng.integers(4)]
    lhs = floats(rng, int(rng.integers(1, 3)) * batch_groups, groups * int(rng.integers(1, 3)), *sizes(rng, rank, 5, 6))
    rhs = floats(rng, groups * batch_groups * int(rng.integers(1, 3)), lhs.shape[1] // groups, *sizes(rng, rank, 1, 3))
    return lhs, rhs, {
        "window_strides": sizes(rng, rank, 1, 2),
        "padding": [tuple(int(p) for p in rng.integers(-1, 3, 2)) for _ in range(rank)],
        "lhs_dilation": sizes(rng, rank, 1, 2),
        "rhs_dilation": sizes(rng, rank, 1, 2),
        "feature_group_count": groups,
        "batch_group_count": batch_groups,
    }  # fmt: skip


def product_case(rng):
    contracted, batch, rows, columns = (int(size) for size in rng.integers(1, 5, 4))
    return [floats(rng, rows, batch, contracted), floats(rng, batch, contracted, columns)]


def window(name, fun, start):
    options = {"window_dimensions": (2, 3), "window_strides": (1, 2), "padding": ((1, 0), (0, 2))}

    def run(x):
        return lax.reduce_window(x, start, fun, **options, window_dilation=(2, 1))

    return run, lambda rng: [floats(rng, *sizes(rng, 2, 4, 6))], interpreter.window_reduction(name, start)


def along(fun, **options):
    return functools.partial(fun, axis=1, **options)


def scatter(fun, array, indices, updates):
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )
    return fun(array, indices, updates, numbers)


EXACT = {
    "dot_general": (
        lambda a, b: lax.dot_general(a, b, (((2,), (1,)), ((1,), (0,)))),
        product_case,
        interpreter.dot_general,
    ),
    "ragged_dot_general": (
        lax.ragged_dot,
        lambda rng: [floats(rng, 5, 3), floats(rng, 2, 3, 4), jnp.asarray([2, 3], jnp.int32)],
        algorithms.ragged_dot,
    ),
    **{
        f"reduce_{name}": (
            functools.partial(getattr(lax, f"reduce_{name}"), axes=(0, 2)),
            lambda rng: [floats(rng, *sizes(rng, 3))],
            interpreter.reduction(fun),
        )
        for name, fun in {
            "sum": interpreter.add,
            "prod": interpreter.multiply,
            "max": interpreter.larger,
            "min": interpreter.smaller,
        }.items()
    },
    **{
        f"reduce_{name}": (
            functools.partial(getattr(lax, f"reduce_{name}"), axes=(1,)),
            same_shape(integers, 1),
            interpreter.reduction(interpreter.logical(fun)),
        )
        for name, fun in {
            "and": lambda a, b: a & b,
            "or": lambda a, b: a | b,
            "xor": lambda a, b: a ^ b,
        }.items()
    },
    "argmax": (
        lambda x: lax.argmax(x, 1, jnp.int32),
        same_shape(floats, 1),
        interpreter.arg_reduction(interpreter.larger),
    ),
    "argmin": (
        lambda x: lax.argmin(x, 1, jnp.int32),
        same_shape(floats, 1),
        interpreter.arg_reduction(interpreter.smaller),
    ),
    "cumsum": (along(lax.cumsum), same_shape(floats, 1), interpreter.running(interpreter.add)),
    "cumprod": (along(lax.cumprod, reverse=True), same_shape(floats, 1), interpreter.running(interpreter.multiply)),
    "cummax": (along(lax.cummax), same_shape(floats, 1), interpreter.running(interpreter.larger)),
    "cummin": (along(lax.cummin), same_shape(floats, 1), interpreter.running(interpreter.smaller)),
    "cumlogsumexp": (along(lax.cumlogsumexp), same_shape(floats, 1), interpreter.running(interpreter.log_add)),
    **{
        f"scatter-{name}": (
            functools.partial(scatter, getattr(lax, f"scatter_{name}")),
            lambda rng: [floats(rng, 6), integers(rng, 4, 1, high=6), floats(rng, 4)],
            algorithms.scatter(operation),
        )
        for name, operation in (
            ("add", interpreter.add),
            ("mul", interpreter.multiply),
            ("max", interpreter.larger),
            ("min", interpreter.smaller),
        )
    },
    "fft": (
        lambda x: lax.fft(x, lax.FftType.FFT, (8,)),
        lambda rng: [complexes(rng, int(rng.integers(1, 4)), 8)],
        algorithms.fft,
    ),
    "threefry2x32": (
        jax.extend.random.threefry2x32_p.bind,
        lambda rng: (
            [integers(rng).astype(jnp.uint32), integers(rng).astype(jnp.uint32)]
            + 2 * [integers(rng, 3, high=2**31 - 1).astype(jnp.uint32)]
        ),
        algorithms.threefry2x32,
    ),
    "cholesky": (
        lambda x: lax.linalg.cholesky(x, symmetrize_input=False),
        lambda rng: [definite(rng, int(rng.integers(1, 6)))],
        algorithms.cholesky,
    ),
    "lu": (lambda x: lax.linalg.lu(x)[0], lambda rng: [floats(rng, *sizes(rng, 2, 1, 5))], algorithms.lu),
    "triangular_solve": (
        functools.partial(lax.linalg.triangular_solve, left_side=True, lower=True),
        lambda rng: [jnp.tril(definite(rng, 4)), floats(rng, 4, int(rng.integers(1, 4)))],
        algorithms.triangular_solve,
    ),
}
WINDOWS = {
    "reduce_window_sum": window(interpreter.add, lax.add, 0.0),
    "reduce_window_max": window(interpreter.larger, lax.max, -math.inf),
    "reduce_window_min": window(interpreter.smaller, lax.min, math.inf),
}


def definite(rng, n):
    a = floats(rng, n, n)
    return a @ a.T + n * jnp.eye(n)
