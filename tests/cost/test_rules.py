"""Rules against XLA's own counts of the program that JAX gives it, and against figures calculated manually."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jds import cost

FLOAT = jnp.float32


def shape(*sizes, dtype=FLOAT):
    return jax.ShapeDtypeStruct(sizes, dtype)


def convolution(lhs, rhs, **options):
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")} | options
    return lax.conv_general_dilated(lhs, rhs, **options)


def xla(fun, *args):
    return jax.jit(fun).lower(*args).cost_analysis()["flops"]


CONVOLUTIONS = {
    "ordinary": (shape(2, 7, 9, 3), shape(3, 3, 3, 5), {}),
    "strided": (shape(2, 8, 9, 3), shape(3, 5, 3, 4), {"window_strides": (2, 3)}),
    "dilated": (shape(1, 11, 9, 2), shape(3, 2, 2, 4), {"rhs_dilation": (2, 3)}),
    "transposed": (shape(1, 5, 4, 2), shape(3, 3, 2, 4), {"lhs_dilation": (2, 3), "padding": ((1, 2), (2, 1))}),
    "cropped": (shape(1, 9, 9, 2), shape(3, 3, 2, 4), {"padding": ((-1, 2), (3, -2))}),
    "grouped": (shape(2, 6, 6, 8), shape(3, 3, 4, 6), {"feature_group_count": 2}),
    "depthwise": (shape(2, 8, 8, 6), shape(3, 3, 1, 6), {"feature_group_count": 6, "window_strides": (2, 2)}),
    "multiplied": (shape(2, 8, 8, 3), shape(5, 5, 1, 6), {"feature_group_count": 3}),
    "pointwise": (shape(2, 8, 8, 6), shape(1, 1, 6, 4), {}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_their_gradients_are_counted_as_xla_does_to_the_unit(name):
    lhs, rhs, options = CONVOLUTIONS[name]
    run = functools.partial(convolution, **options)
    found = cost.analyze(run, lhs, rhs, count_padding=False)
    assert found.total.flops == 2 * found.total.macs == xla(run, lhs, rhs)

    out = jax.eval_shape(run, lhs, rhs)
    for number in (0, 1):

        def gradient(lhs, rhs, cotangent, number=number):
            return jax.vjp(run, lhs, rhs)[1](cotangent)[number]

        backward = cost.analyze(gradient, lhs, rhs, out, count_padding=False).total
        assert backward.flops == 2 * backward.macs == xla(gradient, lhs, rhs, out)
        # A gradient multiplies the same pairs.
        assert backward.macs == found.total.macs


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_kinds_are_the_same_forward_and_backward(name):
    lhs, rhs, options = CONVOLUTIONS[name]
    kind = {"multiplied": "depthwise"}.get(name, name if name in ("grouped", "depthwise", "pointwise") else "ordinary")
    run = functools.partial(convolution, **options)
    analysis = cost.analyze(jax.grad(lambda lhs, rhs: jnp.sum(run(lhs, rhs) ** 2), (0, 1)), lhs, rhs)
    (row,) = [row for row in analysis.by("kind") if row.macs]
    assert row.name == kind
    assert row.calls == 3


def test_the_textbook_example_is_counted_step_by_step():
    steps = cost.analyze(
        lambda x, depthwise, pointwise: convolution(
            convolution(x, depthwise, feature_group_count=3, padding="VALID"), pointwise
        ),
        shape(1, 6, 6, 3),
        shape(3, 3, 1, 3),
        shape(1, 1, 3, 5),
    )
    assert [(row.name, row.multiplications) for row in steps.by("kind")] == [("depthwise", 432), ("pointwise", 240)]


@pytest.mark.parametrize(
    ("fun", "args"),
    [
        (jnp.dot, (shape(8, 16), shape(16, 4))),
        (lambda a, b: jnp.einsum("bik,bkj->bij", a, b), (shape(2, 3, 4), shape(2, 4, 5))),
        (jax.grad(lambda a, b: jnp.sum(a @ b)), (shape(8, 16), shape(16, 4))),
    ],
)
def test_matrix_products_are_counted_as_xla_does(fun, args):
    found = cost.analyze(fun, *args)
    products = [row for row in found.by("operation") if row.name == "dot_general"]
    assert sum(row.flops for row in products) == 2 * found.total.macs
    assert found.total.flops == xla(fun, *args)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: x + 1 - x * x / 2,
        lambda x: jnp.maximum(x, 0) - jnp.minimum(x, 1),
        lambda x: jnp.abs(-x),
        lambda x: jnp.where(x > 0, x, 2 * x),
        lambda x: x**3 + x**-2,
        lambda x: jnp.sum(x, axis=0),
        lambda x: jnp.max(x) + jnp.mean(x, axis=1).sum(),
        lambda x: lax.reduce_window(x, 0.0, lax.add, (3, 2), (2, 1), "VALID"),
    ],
)
def test_elements_and_reductions_are_counted_as_xla_does(fun):
    assert cost.analyze(fun, shape(6, 5)).total.flops == xla(fun, shape(6, 5))


def test_transcendentals_are_not_flops():
    total = cost.analyze(lambda x: jnp.tanh(jnp.exp(x)) + x, shape(6, 5)).total
    assert (total.counts.transcendentals, total.flops) == (60, 30)


def test_windows_skip_padding_on_request():
    def pool(x):
        return lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "SAME")

    assert cost.analyze(pool, shape(6)).total.flops == 6 * 2
    assert cost.analyze(pool, shape(6), count_padding=False).total.flops == 6 * 2 - 2


def test_integers_and_complex_numbers_are_counted_as_such():
    total = cost.analyze(jnp.dot, shape(4, 5, dtype=jnp.int8), shape(5, 6, dtype=jnp.int8)).total
    assert (total.macs, total.flops, total.counts.integer_operations) == (120, 0, 240)
    total = cost.analyze(jnp.dot, shape(4, 5, dtype=jnp.complex64), shape(5, 6, dtype=jnp.complex64)).total
    assert (total.macs, total.flops) == (120, 8 * 120)


def test_reductions_scans_and_sorts_have_the_calculated_counts():
    assert cost.analyze(lambda x: jnp.cumsum(x, axis=1), shape(3, 8)).total.flops == 3 * 7
    assert cost.analyze(jnp.sort, shape(3, 8)).total.flops == 3 * 8 * 3
    assert cost.analyze(lambda x, i, u: x.at[i].add(u), shape(9), shape(4, dtype=jnp.int32), shape(4)).by("operation")[
        -1
    ].flops == 4  # fmt: skip
    assert cost.analyze(jnp.fft.fft, shape(4, 8, dtype=jnp.complex64)).total.flops == 4 * 5 * 8 * 3
    assert cost.analyze(jnp.fft.rfft, shape(4, 8)).total.flops == 4 * 2.5 * 8 * 3


def test_factorizations_match_the_operations_of_their_loops():
    n = 5
    cholesky = solve = 0
    for j in range(n):
        cholesky += 2 * j + 1  # the diagonal: products, differences, a square root
        cholesky += (n - j - 1) * (2 * j + 1)  # the column below it: the same with a division
        solve += 2 * j + 1
    assert cost.analyze(lax.linalg.cholesky, shape(n, n)).by("operation")[-1].flops <= cholesky
    found = cost.analyze(lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True), shape(n, n), shape(n, 3))
    assert found.total.flops == 3 * solve
    lu = sum((n - k) + 2 * (n - k) ** 2 for k in range(1, n + 1))
    assert [row.flops for row in cost.analyze(lambda a: lax.linalg.lu(a)[0], shape(n, n)).by("operation")] == [lu]


def test_intensity_is_flops_per_byte():
    total = cost.analyze(jnp.dot, shape(8, 16), shape(16, 4)).total
    assert (total.bytes_in, total.bytes_out) == (4 * (8 * 16 + 16 * 4), 4 * 8 * 4)
    assert total.traffic == total.bytes_in + total.bytes_out
    assert total.intensity == pytest.approx(2 * math.prod((8, 16, 4)) / total.traffic)


def test_a_user_s_rule_counts_a_foreign_call():
    @cost.register("ffi_call:made_up_square")
    def square(equation):
        return cost.Cost("element-wise", cost.Counts(flops=math.prod(equation.outputs[0].shape)))

    def call(x):
        return jax.ffi.ffi_call("made_up_square", jax.ShapeDtypeStruct(x.shape, x.dtype))(x)

    assert cost.analyze(call, np.ones((3, 4), np.float32)).total.flops == 12
    unknown = cost.analyze(
        lambda x: jax.ffi.ffi_call("never_declared", jax.ShapeDtypeStruct(x.shape, x.dtype))(x), shape(3)
    )
    assert unknown.is_lower_bound
    assert unknown.total.unknown == {"ffi_call:never_declared": 1}
