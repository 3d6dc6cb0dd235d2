"""Each rule against an interpreter that does and tallies the operations one by one, on small random shapes."""

import functools
import math

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jds import cost
from jds.cost import _flatten
from jds.cost.rules import _elements, _table
from tests.cost import interpreter


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
    "integer_pow": (lambda x: lax.integer_pow(x, 13), same_shape(floats, 1), interpreter.integer_pow),
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


EXACT = {
    "dot_general": (
        lambda a, b: lax.dot_general(a, b, (((2,), (1,)), ((1,), (0,)))),
        product_case,
        interpreter.dot_general,
    ),
    "ragged_dot_general": (
        lax.ragged_dot,
        lambda rng: [floats(rng, 5, 3), floats(rng, 2, 3, 4), jnp.asarray([2, 3], jnp.int32)],
        interpreter.ragged_dot,
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
    "scatter-add": (
        lambda x, i, u: scatter(lax.scatter_add, x, i, u),
        lambda rng: [floats(rng, 6), integers(rng, 4, 1, high=6), floats(rng, 4)],
        interpreter.scatter(interpreter.add),
    ),
    "scatter-mul": (
        lambda x, i, u: scatter(lax.scatter_mul, x, i, u),
        lambda rng: [floats(rng, 6), integers(rng, 4, 1, high=6), floats(rng, 4)],
        interpreter.scatter(interpreter.multiply),
    ),
    "scatter-max": (
        lambda x, i, u: scatter(lax.scatter_max, x, i, u),
        lambda rng: [floats(rng, 6), integers(rng, 4, 1, high=6), floats(rng, 4)],
        interpreter.scatter(interpreter.larger),
    ),
    "scatter-min": (
        lambda x, i, u: scatter(lax.scatter_min, x, i, u),
        lambda rng: [floats(rng, 6), integers(rng, 4, 1, high=6), floats(rng, 4)],
        interpreter.scatter(interpreter.smaller),
    ),
    "fft": (
        lambda x: lax.fft(x, lax.FftType.FFT, (8,)),
        lambda rng: [complexes(rng, int(rng.integers(1, 4)), 8)],
        interpreter.fft,
    ),
    "threefry2x32": (
        jax.extend.random.threefry2x32_p.bind,
        lambda rng: (
            [integers(rng).astype(jnp.uint32), integers(rng).astype(jnp.uint32)]
            + 2 * [integers(rng, 3, high=2**31 - 1).astype(jnp.uint32)]
        ),
        interpreter.threefry2x32,
    ),
    "cholesky": (
        lambda x: lax.linalg.cholesky(x, symmetrize_input=False),
        lambda rng: [definite(rng, int(rng.integers(1, 6)))],
        interpreter.cholesky,
    ),
    "lu": (lambda x: lax.linalg.lu(x)[0], lambda rng: [floats(rng, *sizes(rng, 2, 1, 5))], interpreter.lu),
    "triangular_solve": (
        functools.partial(lax.linalg.triangular_solve, left_side=True, lower=True),
        lambda rng: [jnp.tril(definite(rng, 4)), floats(rng, 4, int(rng.integers(1, 4)))],
        interpreter.triangular_solve,
    ),
}
WINDOWS = {
    "reduce_window_sum": window(interpreter.add, lax.add, 0.0),
    "reduce_window_max": window(interpreter.larger, lax.max, -math.inf),
    "reduce_window_min": window(interpreter.smaller, lax.min, math.inf),
}


def scatter(fun, array, indices, updates):
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )
    return fun(array, indices, updates, numbers)


def definite(rng, n):
    a = floats(rng, n, n)
    return a @ a.T + n * jnp.eye(n)


def equation_of(name, fun, args):
    """The one equation of this primitive; all others only move data."""

    def all_equations(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name in ("jit", "pjit"):
                yield from all_equations(eqn.params["jaxpr"].jaxpr)
            else:
                yield eqn

    (found,) = [eqn for eqn in all_equations(jax.make_jaxpr(fun)(*args).jaxpr) if eqn.primitive.name == name]
    return found


def check(name, fun, args, evaluate, count_padding=True):
    params = equation_of(name, fun, args).params
    interpreter.TALLY.__init__()
    result = evaluate(params, *(np.asarray(arg).astype(object) for arg in args))
    tally = interpreter.TALLY
    # The interpreter computes the same values as JAX, ...
    for ours, theirs in zip(result if isinstance(result, list) else [result], jax.tree.leaves(fun(*args)), strict=True):
        ours = np.asarray(ours, object).astype(np.asarray(theirs).dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    # ... with as many operations as the rule says.
    (row,) = [row for row in cost.analyze(fun, *args, count_padding=count_padding).by("operation") if row.name == name]
    counts = row.counts
    assert (counts.macs, counts.flops, counts.transcendentals, counts.integer_operations) == (
        tally.macs, tally.flops, tally.transcendentals, tally.integer_operations
    )  # fmt: skip
    return counts


@pytest.mark.parametrize("name", {**ELEMENTS, **EXACT})
def test_each_rule_counts_what_the_interpreter_does(name):
    fun, make, evaluate = {**ELEMENTS, **EXACT}[name]
    for seed in range(1 if name in ELEMENTS else 4):
        check(name, fun, make(np.random.default_rng(seed)), evaluate)


@pytest.mark.parametrize("kind", [integers, complexes])
@pytest.mark.parametrize("name", ["add", "mul"])
def test_element_wise_rules_count_other_types(name, kind):
    evaluate = interpreter.of_each({"add": lambda a, b: a + b, "mul": lambda a, b: a * b}[name])
    if name == "mul":
        evaluate = lambda params, a, b: np.frompyfunc(interpreter.multiply, 2, 1)(a, b)  # noqa: E731
    check(name, getattr(lax, name), same_shape(kind, 2)(np.random.default_rng(0)), evaluate)


@pytest.mark.parametrize("kind", [integers, complexes])
def test_the_rule_of_products_counts_other_types(kind):
    args = [kind(np.random.default_rng(0), *shape) for shape in ((2, 3), (3, 4))]
    check("dot_general", lambda a, b: lax.dot_general(a, b, (((1,), (0,)), ((), ()))), args, interpreter.dot_general)


@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_the_rule_of_convolutions_counts_what_the_interpreter_does(seed, count_padding):
    lhs, rhs, options = convolution_case(np.random.default_rng(seed))
    run = functools.partial(lax.conv_general_dilated, **options)
    if 0 in jax.eval_shape(run, lhs, rhs).shape:
        pytest.fail("choose sizes that leave something")
    counts = check(
        "conv_general_dilated",
        run,
        [lhs, rhs],
        functools.partial(interpreter.convolution, count_padding=count_padding),
        count_padding,
    )
    assert counts.multiplications >= counts.macs
    if count_padding:
        assert counts.multiplications == counts.macs


@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize("name", WINDOWS)
def test_the_rules_of_windows_count_what_the_interpreter_does(name, count_padding):
    fun, make, evaluate = WINDOWS[name]
    args = make(np.random.default_rng(0))
    out = jax.eval_shape(fun, *args).shape
    evaluate = functools.partial(evaluate, out=out, count_padding=count_padding)
    check(name, fun, args, evaluate, count_padding)


def test_the_gradient_of_pooling_is_counted_as_the_interpreter_does_it():
    x = floats(np.random.default_rng(0), 6, 6)
    source = floats(np.random.default_rng(1), 3, 2)
    params = {"window_dimensions": (2, 3), "window_strides": (2, 3), "padding": ((0, 0), (0, 0))}

    def pool(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, *params.values())

    def gradient(source, x):
        return jax.vjp(pool, x)[1](source)[0]

    interpreter.TALLY.__init__()
    result = interpreter.select_and_scatter_add(
        params, *(np.asarray(a).astype(object) for a in (source, x)), count_padding=True
    )
    np.testing.assert_allclose(result.astype(float), gradient(source, x), rtol=1e-6)
    (row,) = [row for row in cost.analyze(gradient, source, x).by("operation") if row.name == "select_and_scatter_add"]
    assert row.flops == interpreter.TALLY.flops


@pytest.mark.parametrize("length", [1, 2, 5, 8, 13])
def test_sorts_are_bounded_by_the_comparisons_of_a_merge_sort(length):
    keys = floats(np.random.default_rng(0), 3, length)
    args = [keys, keys + 1]
    params = equation_of("sort", lambda a, b: lax.sort((a, b), num_keys=1), args).params
    interpreter.TALLY.__init__()
    result = interpreter.sort(params, *(np.asarray(a).astype(object) for a in args))
    np.testing.assert_allclose(result[1].astype(float), np.sort(args[1]), rtol=1e-6)
    counted = cost.analyze(lambda a, b: lax.sort((a, b), num_keys=1), *args).total.flops
    assert interpreter.TALLY.flops <= counted <= 2 * interpreter.TALLY.flops + 3 * length


def test_top_k_is_bounded_by_the_comparisons_of_a_heap():
    x = floats(np.random.default_rng(0), 2, 64)
    interpreter.TALLY.__init__()
    result = interpreter.top_k({"k": 4}, np.asarray(x).astype(object))
    np.testing.assert_allclose(result.astype(float), lax.top_k(x, 4)[0], rtol=1e-6)
    # A heap of k has log2(k) levels, with two comparisons per level.
    assert interpreter.TALLY.flops <= 2 * cost.analyze(lambda x: lax.top_k(x, 4), x).total.flops


def test_general_reductions_count_the_operations_of_their_function():
    def scaled_sum(x):
        return lax.reduce(x, 0.0, lambda a, b: a + 2 * b, (0,))

    def window(x):
        return lax.reduce_window(x, 1.0, lambda a, b: a * b + 1, (3,), (1,), "VALID")

    assert cost.analyze(scaled_sum, jnp.ones((7, 3))).total.flops == 2 * (7 - 1) * 3
    assert cost.analyze(window, jnp.ones(9)).total.flops == 2 * 2 * 7


def blocks(jaxpr):
    found = 0
    for eqn in jaxpr.eqns:
        found += eqn.outvars[0].aval.size if eqn.primitive.name == "threefry2x32" else 0
        found += sum(blocks(value.jaxpr) for value in eqn.params.values() if hasattr(value, "jaxpr"))
    return found


@pytest.mark.parametrize("partitionable", [True, False])
def test_random_numbers_count_the_blocks_of_jax_s_own_generator(partitionable):
    generator, key = jax.extend.random.threefry_prng_impl, jnp.zeros(2, jnp.uint32)
    with jax.threefry_partitionable(partitionable), jax.enable_x64(True):
        for dtype in ("uint8", "uint16", "uint32", "uint64"):
            for shape in ((5,), (6,), (7, 3), (1,)):
                counted = cost.analyze(lambda key: jax.random.bits(key, shape, dtype), jax.random.key(0))  # noqa: B023
                made = jax.make_jaxpr(lambda key: generator.random_bits(key, 8 * jnp.dtype(dtype).itemsize, shape))(key)  # noqa: B023
                (row,) = [row for row in counted.by("operation") if row.name == "random_bits"]
                # Joining the words of the blocks takes fewer operations than a block.
                assert row.counts.integer_operations // rules_random_block() == blocks(made.jaxpr)
        made = jax.make_jaxpr(lambda key: generator.split(key, (3,)))(key)
        counted = cost.analyze(lambda key: jax.random.split(key, 3), jax.random.key(0)).total.counts
        assert counted.integer_operations // rules_random_block() == blocks(made.jaxpr) == 3
        made = jax.make_jaxpr(lambda key, data: generator.fold_in(key, data))(key, jnp.uint32(3))
        counted = cost.analyze(jax.random.fold_in, jax.random.key(0), jnp.uint32(3)).total.counts
        assert counted.integer_operations // rules_random_block() == blocks(made.jaxpr) == 1


def rules_random_block():
    """Operations of one block, as the interpreter tallies them."""
    interpreter.TALLY.__init__()
    word = np.asarray(1).astype(object)
    interpreter.threefry2x32({}, word, word, word, word)
    return interpreter.TALLY.integer_operations - 2  # without the third word of the key


def test_qr_counts_the_operations_of_householder_reflections():
    # A square matrix: 4/3 n³ to form R and as many to form Q, plus lower powers.
    for n in (50, 100):
        flops = cost.analyze(jnp.linalg.qr, jax.ShapeDtypeStruct((n, n), jnp.float32)).by("operation")
        (row,) = [row for row in flops if row.name == "qr"]
        assert row.flops == pytest.approx(8 / 3 * n**3, rel=3 / n)
    tall = cost.analyze(jnp.linalg.qr, jax.ShapeDtypeStruct((1000, 10), jnp.float32)).total.flops
    assert tall == pytest.approx(4 * 1000 * 10**2, rel=0.15)
    complex_ = cost.analyze(jnp.linalg.qr, jax.ShapeDtypeStruct((1000, 10), jnp.complex64)).total.flops
    assert complex_ == pytest.approx(4 * tall, rel=0.1)


# Primitives that cannot be evaluated in a single process, that only JAX's own tests reach, or whose algorithm is internal
# to a library: their rules state what they count, and other tests in this folder use them.
STATED = """
    psum psum_invariant pmax pmin reduce_scatter all_gather all_gather_invariant all_to_all ppermute
    pbroadcast ragged_all_to_all approx_top_k select_and_gather_add add_any addupdate eq_to le_to lt_to conj mulhi log2
    one_minus_square scatter-sub geqrf householder_product
"""
TESTED_ABOVE = """
    conv_general_dilated select_and_scatter_add sort top_k reduce reduce_window random_bits random_split random_fold_in
    random_seed qr
"""


def test_every_rule_is_tested_or_stated():
    moving = {*_elements._MOVEMENT.split(), *_elements._NOTHING.split()}
    ours = {name for name in _table._RULES if ":" not in name}
    known = {*ELEMENTS, *EXACT, *WINDOWS, *STATED.split(), *TESTED_ABOVE.split(), *moving}
    assert ours - set(_flatten._CONTROL) == known
