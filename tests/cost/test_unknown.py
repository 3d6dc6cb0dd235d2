"""Nothing that cannot be counted hides in a total."""

import time
from typing import get_args

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas

from jds import cost


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


MATRIX, FLAG = shape(8, 8), shape(dtype=bool)


def svd(x):
    return x + jnp.linalg.svd(x)[1][None]


def product(x):
    return x @ x


def forever(x):
    return lax.while_loop(lambda c: c.sum() < 3, product, x)


@pytest.mark.parametrize(
    ("branches", "unknown", "loops"),
    [
        ((svd, product), {"svd": 1}, 0),
        ((product, svd), {"svd": 1}, 0),
        ((svd, svd), {"svd": 1}, 0),
        ((lambda x: product(svd(x)), product), {"svd": 1}, 0),
        ((forever, lambda x: product(product(product(x)))), {}, 1),
        ((lambda x: x.at[0].apply(lambda row: jnp.linalg.norm(row) + row), product), {}, 0),
        ((lambda x: lax.fori_loop(0, 5, lambda _, c: svd(c), x), product), {"svd": 5}, 0),
        # Branches of branches.
        ((lambda x: lax.cond(x[0, 0] > 0, svd, product, x), lambda x: product(product(x))), {"svd": 1}, 0),
        ((lambda x: lax.cond(x[0, 0] > 0, product, forever, x), product), {}, 1),
        ((lambda x: lax.switch(jnp.int32(x[0, 0]), [product, product, svd], x), product), {"svd": 1}, 0),
    ],
)
def test_what_a_branch_does_not_count_makes_the_total_a_lower_bound(branches, unknown, loops):
    for fun in (
        lambda flag, x: lax.cond(flag, *branches, x),
        lambda flag, x: lax.switch(jnp.int32(flag), [*branches, lambda x: x], x),
        lambda flag, x: jax.jit(lambda x: lax.cond(flag, *branches, x))(x),
    ):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            found = cost.analyze(fun, FLAG, MATRIX)
        assert found.total.unknown == unknown
        assert len(found.unknown_trips) == loops
        assert found.is_lower_bound == bool(unknown or loops)
        for by in get_args(cost.By):
            assert any(row.is_lower_bound for row in found.by(by)) == found.is_lower_bound
        assert ("≥ " in str(found)) == found.is_lower_bound
    text = " ".join(cost.analyze(lambda flag, x: lax.cond(flag, svd, product, x), FLAG, MATRIX).notes())
    assert "branches of ≥ 1024, ≥ 64 FLOPs" in text or "branches of 1024, ≥ 64 FLOPs" in text or "≥ 64" in text


@pytest.mark.parametrize(
    ("fun", "counts"),
    [
        (lambda x, i: x.at[i].apply(jnp.sin), cost.Counts(transcendentals=3)),
        (lambda x, i: x.at[i].apply(lambda v: v * v + 1), cost.Counts(flops=2 * 3)),
        (lambda x, i: x.at[i].apply(jax.nn.relu), cost.Counts(flops=3)),
        (lambda x, i: x.at[i].set(0.0), cost.Counts()),
        (lambda x, i: x.at[i].add(1.0), cost.Counts(flops=3)),
        (lambda x, i: x.at[i].multiply(2.0), cost.Counts(flops=3)),
        (lambda x, i: lax.reduce(x, 0.0, lambda a, b: a + jnp.exp(b), (0,)), cost.Counts(flops=7, transcendentals=7)),
    ],
)
def test_functions_of_scatters_and_reductions_are_counted(fun, counts):
    found = cost.analyze(fun, shape(8), shape(3, dtype=jnp.int32)).total
    assert found.counts._replace(integer_operations=0) == counts
    assert not found.unknown


def test_a_scatter_with_an_unknown_function_is_unknown():
    def opaque(x):
        return lax.while_loop(lambda c: c < 3, lambda c: c * 2, x)

    found = cost.analyze(lambda x, i: x.at[i].apply(opaque), shape(8), shape(3, dtype=jnp.int32))
    assert found.total.unknown == {"scatter": 1}


@pytest.mark.parametrize(
    ("fun", "flops"),
    [
        (jnp.prod, 7 * 6),
        (jnp.cumprod, 7 * 6),
        (lambda x: x.at[jnp.arange(3)].multiply(2j), 3 * 6),
        (jnp.sum, 7 * 2),
        (jnp.cumsum, 7 * 2),
    ],
)
def test_complex_products_are_six_operations(fun, flops):
    assert cost.analyze(fun, shape(8, dtype=jnp.complex64)).total.flops == flops


def test_conditionals_take_linear_time():
    def in_a_row(count):
        def fun(x):
            for _ in range(count):
                x = lax.cond(x[0] > 0, jnp.sin, jnp.cos, x)
            return x

        return fun

    def nested(depth):
        fun = jnp.sin
        for _ in range(depth):
            fun = jax.jit(lambda x, inner=fun: lax.cond(x[0] > 0, lambda x: inner(x) + 1, lambda x: inner(x) * 2, x))
        return fun

    def seconds(fun):
        cost.analyze(fun, shape(4))  # traces it
        start = time.perf_counter()
        found = cost.analyze(fun, shape(4))
        assert found.total.counts.transcendentals >= 4
        assert found.as_dtype("int8").memory.bytes < found.memory.bytes
        return time.perf_counter() - start

    for make, size in ((in_a_row, 40), (nested, 8)):
        assert seconds(make(4 * size)) < 12 * seconds(make(size)) + 0.5


def test_a_pallas_kernel_without_a_name_has_that_of_its_function():
    def add_one(x, out):
        out[...] = x[...] + 1

    call = pallas.pallas_call(add_one, out_shape=shape(8), interpret=True)
    assert cost.analyze(call, shape(8)).total.unknown == {"pallas_call:add_one": 1}


def test_references_and_named_generators_are_counted():
    def fun(x):
        reference = jax.new_ref(x)
        reference[...] = reference[...] * 2
        return reference[...]

    found = cost.analyze(fun, shape(8))
    assert (found.total.flops, found.total.unknown) == (8, {})

    def bits(algorithm):
        return cost.analyze(
            lambda key: lax.rng_bit_generator(key, (8,), algorithm=algorithm)[1], shape(4, dtype=jnp.uint32)
        )

    assert bits(lax.RandomAlgorithm.RNG_PHILOX).total.counts.integer_operations == 2 * 98
    assert bits(lax.RandomAlgorithm.RNG_DEFAULT).total.unknown == {"rng_bit_generator": 1}


def test_custom_roots_are_followed():
    def root(x):
        def solve(function, start):
            return lax.fori_loop(0, 3, lambda _, y: y - function(y) / (2 * y), start)

        return lax.custom_root(lambda y: y**2 - x, x, solve, lambda function, y: y / function(1.0))

    with jax.numpy_dtype_promotion("standard"):
        found = cost.analyze(root, shape())
    assert (found.total.flops, found.total.unknown) == (3 * 5, {})


def test_arrays_inside_a_shard_map_count_on_all_devices_and_in_all_iterations():
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.P("d", None)
    product = jax.shard_map(lambda x, w: x @ w, mesh=mesh, in_specs=(rows, jax.P()), out_specs=rows)
    found = cost.analyze(product, shape(16, 8), shape(8, 8))
    (row,) = [row for row in found.by("operation") if row.macs]
    # Each device reads its rows and all weights.
    assert row.bytes_in == 4 * (16 * 8 + 4 * 8 * 8)
    assert row.bytes_out == 4 * 16 * 8
    peak = cost.Peak("made up", {"float32": 1e30}, bytes=1.0, source="")
    (bound,) = [bound for bound in cost.estimate(found, peak, "operation").rows if bound.name == row.name]
    assert bound.seconds == (row.bytes_in + row.bytes_out) / 4

    def repeated(x, w):
        return lax.scan(lambda x, _: (product(x, w), None), x, length=10)[0]

    looped = cost.analyze(repeated, shape(16, 8), shape(8, 8)).by("operation")
    (row,) = [row for row in looped if row.macs]
    assert row.bytes_in == 10 * 4 * (16 * 8 + 4 * 8 * 8)
