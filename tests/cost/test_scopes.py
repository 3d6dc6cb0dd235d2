"""Rows are the scopes that the user opened, under their true names: none of JAX's, none twice, none lost."""

import contextlib

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import pallas

from jds import cost

# Names that JAX uses in name stacks itself, or that look as if they were parts of one.
NAMES = [
    *("a", "rematted_computation", "checkpoint", "while", "cond", "body", "branch_0_fun", "closed_call", "eval_jaxpr"),
    *("jvp", "vmap", "transpose", "jit", "pjit", "jvp()", "transpose(jvp(a))", "vmap(a", "f(x)", ")", "a b", "ä · 層"),
    *("ij,jk", "ij,jk->ik", "a->b", "->", "ii", "", "/", "a/a", "//b/", "equation_0", "eqx"),
]  # fmt: skip
X = jax.ShapeDtypeStruct((4, 4), jnp.float32)


@jax.custom_vjp
def product(x):
    return jnp.einsum("ij,jk", x, x)


product.defvjp(
    lambda x: (jnp.einsum("ij,jk->ik", x, x), x), lambda x, g: (jnp.einsum("ij,kj", g, x) + jnp.einsum("ji,jk", x, g),)
)

PRODUCTS = {
    "dot": lambda x: x @ x,
    "einsum": lambda x: jnp.einsum("ij,jk", x, x),
    "einsum with an arrow": lambda x: jnp.einsum(" ij, jk -> ik ", x, x),
    "einsum in lists": lambda x: jnp.einsum(x, [0, 1], x, [1, 2]),
    "own derivative": product,
    "relu": lambda x: jax.nn.relu(x @ x),
    "jitted": jax.jit(lambda x: x @ x),
}
TRANSFORMATIONS = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "grad": lambda f: jax.grad(lambda x: f(x).sum()),
    "checkpoint": lambda f: jax.grad(lambda x: jnp.sin(jax.checkpoint(f)(x)).sum()),
    "nested checkpoints": lambda f: jax.grad(lambda x: jax.checkpoint(lambda x: jax.checkpoint(f)(f(x)))(x).sum()),
    "scan": lambda f: lambda x: jax.lax.scan(lambda x, _: (f(x), None), x, length=2)[0],
    "checkpoint in scan": lambda f: jax.grad(
        lambda x: jax.lax.scan(lambda x, _: (jax.checkpoint(f)(x), None), x, length=2)[0].sum()
    ),
    "while": lambda f: lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 1, f, x),
    "cond": lambda f: jax.grad(lambda x: jax.lax.cond(x[0, 0] < 1, f, lambda x: x, x).sum()),
    "vmap": lambda f: lambda x: jax.vmap(f)(jnp.stack([x, x])),
    "grad of vmap": lambda f: jax.grad(lambda x: jax.vmap(jax.checkpoint(f))(jnp.stack([x, x])).sum()),
    "vmap of grad": lambda f: jax.vmap(jax.grad(lambda x: f(x[None] * x[:, None]).sum())),
    "second derivative": lambda f: jax.grad(lambda x: jax.grad(lambda x: f(x).sum())(x).sum()),
}


def scoped(fun, names):
    def inside(x):
        with contextlib.ExitStack() as stack:
            for name in names:
                stack.enter_context(jax.named_scope(name))
            return fun(x)

    return inside


def rows_with_products(fun, *args):
    with jax.numpy_rank_promotion("allow"):
        return {row.name for row in cost.analyze(fun, *args).by("layer") if row.macs}


def true_path(names):
    return "/".join(part for name in names for part in name.split("/") if part)


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from(NAMES), max_size=4),
    inner=st.lists(st.sampled_from(NAMES), max_size=3),
    transformation=st.sampled_from(sorted(TRANSFORMATIONS)),
    product=st.sampled_from(sorted(PRODUCTS)),
)
def test_rows_are_the_scopes_that_the_user_opened(names, inner, transformation, product):
    body = scoped(PRODUCTS[product], inner)
    fun = scoped(TRANSFORMATIONS[transformation](body), names)
    assert rows_with_products(fun, X) == {true_path([*names, *inner])}


@pytest.mark.parametrize("transformation", sorted(TRANSFORMATIONS))
@pytest.mark.parametrize("names", [["a", "a"], ["a/a", "a"], ["blk"] * 3, ["rematted_computation"] * 2])
def test_repeated_names_stay(names, transformation):
    fun = scoped(TRANSFORMATIONS[transformation](scoped(PRODUCTS["einsum"], names)), names)
    assert rows_with_products(fun, X) == {true_path(names * 2)}


@pytest.mark.parametrize("name", NAMES)
def test_scopes_may_be_decorators(name):
    @jax.named_scope(name)
    def decorated(x):
        return x @ x

    def named(x):
        return jax.named_call(lambda x: x @ x, name=name)(x)

    for fun in (decorated, named, jax.jit(decorated), lambda x: jax.vmap(decorated)(jnp.stack([x, x]))):
        assert rows_with_products(fun, X) == {true_path([name])}


@pytest.mark.parametrize("fun", [jnp.matmul, jax.lax.dot, jnp.einsum])
def test_scopes_around_functions_of_jax_are_the_user_s(fun):
    named = jax.named_call(fun, name="head")
    args = (X, X) if fun is not jnp.einsum else ("ij,jk", X, X)
    assert rows_with_products(named, *args) == {"head"}
    if fun is not jnp.einsum:
        stacked = jax.ShapeDtypeStruct((2, 4, 4), jnp.float32)
        assert rows_with_products(jax.vmap(named), stacked, stacked) == {"head"}


def test_the_name_of_a_kernel_is_no_layer():
    def kernel(x_ref, out_ref):
        out_ref[...] = x_ref[...] * 2

    def fun(x):
        with jax.named_scope("layer"):
            return pallas.pallas_call(kernel, out_shape=X, interpret=True, name="twice")(x)

    found = cost.analyze(fun, X)
    assert [row.name for row in found.by("layer")] == ["layer"]
    assert found.total.unknown == {"pallas_call:twice": 1}


def test_functions_that_were_traced_before_keep_their_scopes():
    body = scoped(lambda x: jnp.einsum("ij,jk->ik", x, x), ["a", "b"])
    _, derivative = jax.vjp(lambda x: scoped(jax.checkpoint(body), ["o"])(x), jnp.ones((4, 4)))
    assert rows_with_products(lambda g: derivative(g), X) == {"o/a/b"}


def test_measured_layers_have_the_names_of_the_rows():
    names = ["a", "a->b", "rematted_computation", "f(x)", "a"]
    step = TRANSFORMATIONS["checkpoint"](scoped(PRODUCTS["einsum"], names))
    measured = cost.measure_program(step, jnp.ones((4, 4)), seconds=0.0)
    assert true_path(names) in measured.layers
    assert set(measured.layers) - {"(call)", "(not attributed)", ""} == {true_path(names)}


def test_what_jax_moves_out_of_a_loop_keeps_the_scopes_around_it():
    def fun(weights, x):
        def body(carry, w):
            return scoped(lambda c: jnp.tanh(c @ w + (weights[0] @ weights[1]).sum()), ["inner", "layer"])(carry), None

        return scoped(lambda x: jax.lax.scan(body, x, weights)[0].sum(), ["outer"])(x)

    step = jax.grad(fun)
    arguments = jnp.ones((3, 8, 8)), jnp.ones((4, 8))
    assert rows_with_products(step, *arguments) == {"outer/inner/layer"}
    measured = cost.measure_program(step, *arguments, seconds=0.0)
    assert set(measured.layers) <= {"outer/inner/layer", "outer", "", "(call)", "(not attributed)"}


def test_nothing_is_left_of_the_tracing():
    scope = type(jax.named_scope(""))
    before, own = scope.__enter__, jax.named_scope("own")
    with pytest.raises(TypeError, match="cannot be traced"):
        cost.analyze(lambda x: own(jnp.sin)(x) + "", X)
    assert scope.__enter__ is before
    assert type(own.name) is str
