"""Expanded jaxprs compute the same values with JAX's own primitives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun, jaxprs_in_params

import jds

KERNEL, BIAS = jnp.ones((3, 3, 1, 4)), jnp.arange(4.0)
CALLS = {"fused_conv", "jit", "custom_jvp_call", "custom_vjp_call", "checkpoint", "closed_call"}


def layer(x):
    return jds.depthwise_conv(x, KERNEL, bias=BIAS, activation=jax.nn.relu6)


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (doubled(x), None), lambda _, g: (2 * g,))


def names_in(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in jaxprs_in_params(equation.params):
            yield from names_in(inner)


FUNCTIONS = {
    "calls": lambda x: jax.checkpoint(jax.jit(lambda x: doubled(jax.nn.gelu(layer(x)))))(layer(x)),
    "scan": lambda x: jax.lax.scan(lambda carry, _: (layer(carry), carry.sum()), x, None, length=3),
    "while": lambda x: jax.lax.fori_loop(0, x.shape[1], lambda _, x: layer(x) / 9, x),
    "cond": lambda x: jax.lax.cond(x.sum() > 0, layer, jax.nn.silu, x),
    "results that are inputs and constants": lambda x: (x, 1.0, jax.jit(lambda x: (x, layer(x)))(x)),
    "the same call twice": lambda x: jax.jit(layer)(jax.jit(layer)(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_values_are_the_same_and_no_call_is_left(name):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 5, 5, 4)), jnp.float32)
    jaxpr = jax.make_jaxpr(FUNCTIONS[name])(x)
    assert CALLS & set(names_in(jaxpr.jaxpr))
    expanded = jds.expand_jaxpr(jaxpr)
    assert not CALLS & set(names_in(expanded.jaxpr))
    for got, wanted in zip(jaxpr_as_fun(expanded)(x), jaxpr_as_fun(jaxpr)(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_equations_keep_the_scopes_of_their_calls():
    def fun(x):
        with jax.named_scope("outer"):
            return jax.jit(jax.named_scope("inner")(layer))(x)

    expanded = jds.expand_jaxpr(jax.make_jaxpr(fun)(jnp.ones((1, 5, 5, 4))))
    assert {str(equation.source_info.name_stack) for equation in expanded.eqns} == {"outer/inner"}
