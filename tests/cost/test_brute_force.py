"""Each rule against an interpreter that does and tallies the operations one by one, on small random shapes."""

import functools

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jds import cost
from jds.cost import _following
from jds.cost.rules import _elements, _table
from tests.cost import algorithms, interpreter
from tests.cost.cases import ELEMENTS, EXACT, WINDOWS, complexes, convolution_case, floats, integers, same_shape


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
    for ours, theirs in zip(
        result if isinstance(result, list) else [result], jax.tree.leaves(jax.jit(fun)(*args)), strict=True
    ):
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
    result = algorithms.sort(params, *(np.asarray(a).astype(object) for a in args))
    np.testing.assert_allclose(result[1].astype(float), np.sort(args[1]), rtol=1e-6)
    counted = cost.analyze(lambda a, b: lax.sort((a, b), num_keys=1), *args).total.flops
    assert interpreter.TALLY.flops <= counted <= 2 * interpreter.TALLY.flops + 3 * length


def test_top_k_is_bounded_by_the_comparisons_of_a_heap():
    x = floats(np.random.default_rng(0), 2, 64)
    interpreter.TALLY.__init__()
    result = algorithms.top_k({"k": 4}, np.asarray(x).astype(object))
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
    algorithms.threefry2x32({}, word, word, word, word)
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
    scatter rng_bit_generator
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
    assert ours - set(_following.CONTROL) == known
