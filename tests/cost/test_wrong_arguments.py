"""The arguments of `jds.cost.analyze`: what is refused, and with which words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jds import cost

X = jax.ShapeDtypeStruct((4, 4), jnp.float32)


class WithoutCall(nnx.Module):
    pass


def generator(x):
    yield x


async def coroutine(x):
    return x


@pytest.mark.parametrize(
    ("fun", "fault"),
    [
        (nnx.Linear, "got the class Linear; pass an instance of it"),
        (WithoutCall, "got the class WithoutCall; pass an instance of it"),
        (WithoutCall(), "got WithoutCall, which has no `__call__`"),
        (3, "got int"),
        (None, "got NoneType"),
        ("net", "got str"),
        (generator, "got a generator or a coroutine"),
        (coroutine, "got a generator or a coroutine"),
    ],
)
def test_what_is_no_function_is_refused(fun, fault, unchecked_types):
    with pytest.raises(TypeError, match=f"`fun` must be a function or a module, {fault}"):
        cost.analyze(fun, X)


def test_a_dtype_is_a_function():
    assert cost.analyze(jnp.bfloat16, X).total.flops == 16


@pytest.mark.parametrize("argnums", [True, (0, True), -1, 2, (0, 2), "0", 1.5, [[0]]])
def test_wrong_indices_of_parameters_are_refused(argnums, unchecked_types):
    with pytest.raises(ValueError, match="`parameter_argnums` must index the 2 arguments from 0, got"):
        cost.analyze(jnp.dot, X, X, parameter_argnums=argnums)


@pytest.mark.parametrize("flag", [True, np.bool_(True), False, np.False_])
def test_booleans_are_options(flag):
    found = cost.analyze(lambda x, flag: jnp.exp(x) if flag else x @ x, X, flag)
    assert found.total.macs == (0 if flag else 64)


@pytest.mark.parametrize("fun", [jnp.reshape, lambda x, shape: jnp.zeros(shape) + x.sum()])
def test_a_number_that_must_stay_one_is_explained(fun):
    with pytest.raises(TypeError, match="Close over one that must stay a number"):
        cost.analyze(fun, X, (2, 8))


@pytest.mark.parametrize("wrap", [nnx.value_and_grad, nnx.grad, jax.grad, jax.jit, nnx.jit])
def test_errors_name_the_users_function(wrap):
    def loss(x):
        return x @ jnp.ones(3)

    with pytest.raises(TypeError, match=r"^loss cannot be traced with arguments \(float32\[4,4\]\): dot_general"):
        cost.analyze(wrap(loss), X)


def test_a_module_in_training_mode_that_is_closed_over_is_explained():
    net = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match=r"(?s)switch the module to evaluation mode with `module.eval\(\)`.*test_wrong_argum"
    ):
        cost.analyze(lambda x: net(x), X)


def test_a_loop_may_run_zero_times():
    def fun(x):
        return jax.lax.while_loop(lambda c: c[0, 0] < 3, lambda c: c @ c, x)

    assert (cost.analyze(fun, X, trip_counts=0).total.macs, cost.analyze(fun, X, trip_counts=2).total.macs) == (0, 128)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: cost.measure(jnp.sin), "got .*; for one program, call `measure_program"),
        (lambda: cost.measure({"a": 3}), "got int for 'a'"),
        (lambda: cost.measure({"a": (jnp.sin, jnp.ones(2))}), r"got \(.*, ArrayImpl\) for 'a'"),
        (lambda: cost.analyze_graph(3), "`graph` must be a `jds.cost.Graph`, .* got int"),
        (lambda: cost.sweep("a", 3, {"x": [1]}), "`make` must be a function that returns an analysis, got int"),
        (lambda: cost.sweep("a", len, {"x": 3}), "`settings` must map names to values, .* got {'x': 3}"),
        (lambda: cost.check_budget(cost.analyze(jnp.sin, X), cost.Limit("macs", 3)), "must be a list of .*, got Limit"),
        (lambda: cost.multiplications(3), "must be a `jds.cost.Layer` or a list of them, got 3"),
    ],
)
def test_what_is_not_of_the_form_of_an_argument_is_named(call, fault, unchecked_types):
    with pytest.raises(TypeError, match=fault):
        call()


def test_samples_of_other_rounds_are_refused():
    with pytest.raises(ValueError, match="must be at least two numbers, got"):
        cost.spread([1.0])
    with pytest.raises(ValueError, match="got 1 and 2 samples"):
        cost.ratios((1.0,), (1.0, 2.0))


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: cost.analyze(jnp.sin, X, count_padding="no"), "analyze: `count_padding` must be True or False, got 'no'"),
        (lambda: cost.measure({"a": (jnp.sin, (1.0,))}, seconds=-1), "measure: `seconds` must be .* from 0, got -1"),
        (lambda: cost.measure({"a": (jnp.sin, (1.0,))}, sample_seconds=0), "`sample_seconds` must be more than 0, got 0"),
        (lambda: cost.measure_program(jnp.sin, 1.0, seconds=float("nan")), "measure_program: `seconds` must be .*got nan"),
        (lambda: cost.measure_program(jnp.sin, 1.0, time_limit=-3), "`time_limit` must be .* got -3"),
    ],
)  # fmt: skip
def test_wrong_options_are_named(call, fault, unchecked_types):
    with pytest.raises(ValueError, match=fault):
        call()


def test_the_values_of_a_sweep_may_be_an_array():
    swept = cost.sweep("sine", lambda size: cost.analyze(jnp.sin, jnp.ones(int(size))), {"size": np.arange(1, 3)})
    assert len(swept.points) == 2
