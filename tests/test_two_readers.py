"""`jds.ops` and `jds.cost` each read convolution equations, in separate packages: they mean the same by each kind."""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest
from plain import convolve

from jds import cost
from jds.ops._recognize import recognize_equation

# Input features, output features and groups.
DEPTHWISE = [(4, 4, 4), (4, 8, 4), (4, 2, 2)]
FEATURES = [*DEPTHWISE, (1, 4, 1), (3, 5, 1), (4, 4, 1), (6, 4, 2)]
PASSES = {
    "forward": lambda f: f,
    "input gradient": lambda f: lambda x, k: jax.vjp(lambda x: f(x, k), x)[1](f(x, k))[0],
    "kernel gradient": lambda f: lambda x, k: jax.vjp(lambda k: f(x, k), k)[1](f(x, k))[0],
}


def kinds(fun, *arguments):
    """The kind of the last convolution, as `jds.ops` and as `jds.cost` call it."""
    equations = jax.make_jaxpr(fun)(*arguments).jaxpr.eqns
    *_, equation = (e for e in equations if e.primitive.name == "conv_general_dilated")
    *_, operation = (o for o in cost.analyze(fun, *arguments).operations if o.name == "conv_general_dilated")
    return recognize_equation(equation).kind, operation.cost.kind


@pytest.mark.parametrize("features", FEATURES, ids=str)
def test_both_mean_the_same_by_each_kind(features):
    in_features, out_features, groups = features
    for size, batch, strides in itertools.product((1, 3), (1, 2), (1, 2)):
        x = jnp.ones((batch, 9, 8, in_features))
        k = jnp.ones((size, size, in_features // groups, out_features))
        for make in PASSES.values():
            ours, theirs = kinds(make(functools.partial(convolve, strides=strides, groups=groups)), x, k)
            if features == (6, 4, 2):
                # To compute, groups of several features are whichever kind is fastest. To count, they are groups.
                assert theirs == "grouped"
            else:
                assert ours == theirs
                assert size == 1 or ours == ("depthwise" if features in DEPTHWISE else "ordinary")
