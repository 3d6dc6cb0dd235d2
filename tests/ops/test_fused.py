"""Scale, bias and activation after the convolutions: values, transformations, and the fused op that contains them."""

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from blocks import (
    BLOCKS,
    IMPLEMENTATIONS,
    POINTWISE,
    SCALED,
    SEPARABLE,
    WHOLE,
    Fused,
    all_of,
    assert_equal,
    count,
    sum_of,
)
from hypothesis import HealthCheck, given, settings
from scipy import special

import jds
from jds.ops._fused_block import gelu

NUMPY_ACTIVATIONS = {
    None: lambda x: x,
    jax.nn.relu: lambda x: np.maximum(x, 0),
    jax.nn.relu6: lambda x: np.clip(x, 0, 6),
    jax.nn.silu: lambda x: x / (1 + np.exp(-x)),
    jax.nn.sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    jax.nn.hard_swish: lambda x: x * np.clip(x + 3, 0, 6) / 6,
    jax.nn.hard_sigmoid: lambda x: np.clip(x + 3, 0, 6) / 6,
    gelu: lambda x: x * special.ndtr(x),
    jax.nn.gelu: lambda x: x / (1 + np.exp(-((8 / np.pi) ** 0.5) * (x + 0.044715 * x**3))),
    jnp.tanh: np.tanh,  # one that jds does not know by name
}


@st.composite
def blocks(draw):
    """Draws a call and the oracle's arguments for each of its steps."""
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    function = draw(st.sampled_from(["separable_conv", "separable_conv", "depthwise_conv", "conv"]))
    batch = draw(st.sampled_from([(), (2,), (2, 1), (0,)]))
    features, size, strides, dilation = draw(st.integers(1, 4)), each(1, 3), each(1, 2), each(1, 2)
    spatial = tuple(draw(st.integers((k - 1) * d + 1, 6)) for k, d in zip(size, dilation, strict=True))
    padding = draw(st.sampled_from(["SAME", "VALID", "CIRCULAR", "REFLECT", ((1, 2),) * rank]))
    groups = 1 if function == "conv" else features
    kernels = ((*size, features // groups, groups * draw(st.integers(1, 3))),)
    if function == "separable_conv":
        kernels += ((1,) * rank + (kernels[0][-1], draw(st.integers(1, 4))),)
    halves = ["depthwise_", "pointwise_"] if function == "separable_conv" else [""]
    extras = [half + name for half in halves for name in ("scale", "bias") if draw(st.booleans())]
    activations = {half + "activation": draw(st.sampled_from(list(NUMPY_ACTIVATIONS))) for half in halves}
    options = {"strides": strides, "padding": padding, "kernel_dilation": dilation}
    first = {**options, "groups": groups}
    second = {"strides": (1,) * rank, "padding": "VALID", "kernel_dilation": (1,) * rank}
    call = Fused("drawn", function, (*batch, *spatial, features), kernels, tuple(extras), options, activations)
    return call, tuple(zip(halves, (first, second), strict=False))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(blocks(), st.sampled_from([None, "xla"]), st.sampled_from(["float32", "float64", "bfloat16"]))
def test_values_match_the_oracle(drawn, implementation, dtype):
    block, halves = drawn
    with jax.enable_x64(True):
        arrays = block.arrays(dtype)
        got = block.call(*arrays, implementation=implementation)
    assert got.dtype == dtype
    inputs, *rest = (np.asarray(array, np.float64) for array in arrays)
    named = dict(zip(block.extras, rest[len(block.kernels) :], strict=True))
    out = inputs.reshape(-1 if inputs.size else 0, *inputs.shape[1 - rest[0].ndim :])
    scale = 1.0
    for (half, expected), kernel in zip(halves, rest, strict=False):
        out = oracle.conv(out, kernel, **expected) * named.get(half + "scale", 1) + named.get(half + "bias", 0)
        scale = max(1.0, scale, np.abs(out).max(initial=0))
        out = NUMPY_ACTIVATIONS[block.activations[half + "activation"]](out)
    tolerance = {"float64": 1e-13, "float32": 1e-5, "bfloat16": 3e-2}[dtype] * (2 + scale) * rest[0].size ** 0.5
    np.testing.assert_allclose(np.asarray(got, np.float64), out.reshape(got.shape), rtol=0, atol=tolerance)


def _cos(arrays):
    return tuple(map(jnp.cos, arrays))


TRANSFORMATIONS = {
    "jit": lambda f: f,
    "vjp": lambda f: lambda *a: jax.vjp(f, *a)[1](jnp.cos(f(*a))),
    "grad of the inputs alone": lambda f: jax.grad(sum_of(f)),
    "jvp": lambda f: lambda *a: jax.jvp(f, a, _cos(a)),
    "linearize": lambda f: lambda *a: jax.linearize(f, *a)[1](*_cos(a)),
    "forward over reverse": lambda f: lambda *a: jax.jvp(jax.grad(sum_of(f), all_of(a)), a, _cos(a))[1],
    "reverse over reverse": lambda f: (
        lambda *a: jax.grad(lambda *b: sum(map(jnp.sum, jax.grad(sum_of(f), all_of(a))(*b))), all_of(a))(*a)
    ),
    "vmap of the inputs": lambda f: (
        lambda x, *a: jax.vmap(f, (1, *[None] * len(a)), 1)(jnp.stack([x, 2 * x, x - 1], 1), *a)
    ),
    "vmap of all": lambda f: lambda *a: jax.vmap(f)(*(jnp.stack([v, 2 * v, v - 1]) for v in a)),
    "vmap of the last": lambda f: (
        lambda *a: jax.vmap(f, (*[None] * (len(a) - 1), 0))(*a[:-1], jnp.stack([a[-1], 2 * a[-1]]))
    ),
    "vmap of grad": lambda f: (
        lambda x, *a: jax.vmap(jax.grad(sum_of(f), (0, 1)), (0, *[None] * len(a)))(jnp.stack([x, 2 * x]), *a)
    ),
    "grad of vmap": lambda f: (
        lambda x, *a: jax.grad(lambda x, *a: sum_of(jax.vmap(f, (0, *[None] * len(a))))(x, *a), (0, 1))(
            jnp.stack([x, 2 * x]), *a
        )
    ),
    "scan": lambda f: lambda x, *a: jax.lax.scan(lambda c, x: (c + 1, f(x, *a)), 0, jnp.stack([x, 2 * x]))[1],
    "grad of scan": lambda f: (
        lambda x, *a: jax.grad(
            lambda x, *a: jax.lax.scan(lambda c, x: (c + sum_of(f)(x, *a), None), 0.0, x)[0], (0, 1)
        )(jnp.stack([x, 2 * x]), *a)
    ),
    "remat": lambda f: jax.grad(lambda x, *a: sum_of(jax.checkpoint(f))(jnp.sin(x), *a), (0, 1)),
    "cond": lambda f: lambda x, *a: jax.lax.cond(x.sum() > 0, f, lambda x, *a: f(2 * x, *a), x, *a),
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_transformations_match_those_of_the_steps(transformation):
    transform = TRANSFORMATIONS[transformation]
    # A small block where compiling takes long. XLA's convolutions on both sides, as the test is not about kernels.
    block = POINTWISE if "over" in transformation else WHOLE
    with jax.enable_x64(True):
        arrays = block.arrays(jnp.float64)
        call = functools.partial(block.call, implementation="xla")
        got, want = (jax.jit(transform(f))(*arrays) for f in (call, block.steps))
        assert_equal(got, want)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_named_implementations_match_the_steps_without_jit(block):
    arrays = block.arrays()
    want = block.steps(*arrays)
    for implementation in IMPLEMENTATIONS[: 2 if block.function == "conv" else 3]:
        call = functools.partial(block.call, implementation=implementation)
        assert_equal(call(*arrays), want, 1e-5)
        with jax.disable_jit():
            assert_equal(call(*arrays), want, 1e-5)
        text = jax.jit(call).lower(*arrays).as_text()
        expected = block.kernels if implementation == "xla" else ()
        assert text.count("stablehlo.convolution") == len(expected)


def test_the_compiler_sees_the_steps():
    arrays = SEPARABLE.arrays()
    text = jax.jit(SEPARABLE.call).lower(*arrays).compile().as_text()
    assert "convolution(" not in text
    assert "fused_conv(" not in text  # the fused op has been inlined


def test_linear_epilogues_can_be_transposed():
    inputs, kernel, scale = SCALED.arrays()
    for place in (0, 1, 2):
        arrays = [inputs, kernel, scale]

        def transposed(f, place=place, arrays=arrays):
            of_one = lambda value: f(*arrays[:place], value, *arrays[place + 1 :])  # noqa: E731
            return jax.linear_transpose(of_one, arrays[place])(f(*arrays))

        assert_equal(transposed(SCALED.call), transposed(SCALED.steps), 1e-4)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_one_fused_op_until_it_is_differentiated(block):
    arrays = block.arrays()
    steps = len(block.kernels)
    assert count(block.call, *arrays) == (1, 0)
    assert count(jax.jit(jax.checkpoint(block.call)), *arrays) == (1, 0)
    for kept in ("jit", "vmap of the inputs", "scan"):
        assert count(TRANSFORMATIONS[kept](block.call), *arrays) == (1, 0), kept
    for gone in ("vjp", "jvp", "remat", "grad of scan", "vmap of all", "reverse over reverse"):
        fused, convolutions = count(jax.jit(TRANSFORMATIONS[gone](block.call)), *arrays)
        kept = {"vjp": 1}.get(gone, 0)  # the test's own forward pass
        assert fused == kept, gone
        assert convolutions >= steps


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_gradient_has_the_same_equations_as_that_of_the_steps(block):
    arrays = block.arrays()

    def primitives(f):
        jaxpr = jax.make_jaxpr(jax.grad(sum_of(f), all_of(arrays)))(*arrays).jaxpr
        return sorted(equation.primitive.name for equation in jaxpr.eqns)

    steps = functools.partial(block.steps, implementation=None)
    assert primitives(block.call) == primitives(steps)
    residuals = [jax.tree.leaves(jax.vjp(f, *arrays)[1]) for f in (block.call, steps)]
    assert sum(r.nbytes for r in residuals[0]) == sum(r.nbytes for r in residuals[1])


def test_without_an_epilogue_or_with_an_unknown_one_there_is_no_fused_op():
    inputs, depthwise, pointwise, bias, _ = SEPARABLE.arrays()
    assert count(jds.separable_conv, inputs, depthwise, pointwise) == (0, 2)
    assert count(lambda x, k: jds.conv(x, k, feature_group_count=4, activation=jnp.tanh), inputs, depthwise) == (0, 1)
    assert count(lambda *a: jds.depthwise_conv(*a[:2], bias=a[2], activation=jnp.tanh), inputs, depthwise, bias) == (
        0,
        1,
    )


def test_the_fused_op_describes_itself():
    arrays = SEPARABLE.arrays()
    (equation,) = jax.make_jaxpr(functools.partial(SEPARABLE.call, implementation="xla"))(*arrays).eqns
    block = equation.params["block"]
    assert hash(block) == hash(
        jax.make_jaxpr(functools.partial(SEPARABLE.call, implementation="xla"))(*arrays).eqns[0].params["block"]
    )
    first, second = block.steps
    assert block.implementation == "xla"
    assert first.geometry.strides == (2, 2)
    assert first.geometry.padding == ((0, 1), (1, 1))
    assert (first.feature_group_count, first.activation, first.has_scale, first.has_bias) == (4, "silu", False, True)
    assert (second.feature_group_count, second.activation, second.has_bias) == (1, "hard_silu", True)
    # Tools that count operations find the convolutions inside.
    inner = [e.primitive.name for e in equation.params["jaxpr"].eqns]
    assert inner.count("conv_general_dilated") == 2


def test_sixteen_bits_and_preferred_element_type_match_the_steps():
    arrays = SEPARABLE.arrays(jnp.bfloat16)
    exact = SEPARABLE.steps(*(array.astype(jnp.float32) for array in arrays))
    for preferred in (None, jnp.float32):
        block = SEPARABLE._replace(options={**SEPARABLE.options, "preferred_element_type": preferred})
        out = block.call(*arrays)
        assert out.dtype == (preferred or jnp.bfloat16)
        np.testing.assert_allclose(out.astype(jnp.float32), exact, atol=0.02 * float(jnp.abs(exact).max()))


def test_eager_calls_are_traced_and_compiled_once(caplog):
    arrays = SEPARABLE.arrays()
    SEPARABLE.call(*arrays)
    other = SEPARABLE.arrays(seed=1)
    with jax.log_compiles():
        SEPARABLE.call(*other)
    assert not caplog.records


def test_inputs_can_be_donated():
    inputs, kernel, scale = SCALED.arrays()
    want = SCALED.steps(inputs, kernel, scale)
    assert_equal(jax.jit(SCALED.call, donate_argnums=0)(inputs, kernel, scale), want, 1e-5)
    assert inputs.is_deleted()
