"""Epilogues in the CPU kernels: every form, activation, dtype and instruction set against XLA's operations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blocks import Fused
from scipy import special

import jds
from jds.ops._fused_block import ACTIVATIONS
from jds.ops.native import _library

pytestmark = pytest.mark.skipif(bool(_library.fault()), reason="there are no CPU kernels")

SCALE_AND_BIAS = ("scale", "bias")
GROUPED = {"feature_group_count": 19}
FORMS = (
    # 19 channels: neither a multiple of a vector nor less than one. 11 and 4 positions: blocks of 8, 4, 2 and 1.
    Fused("depthwise", "depthwise_conv", (2, 4, 11, 19), ((3, 3, 1, 19),), SCALE_AND_BIAS, {}, {}),
    Fused("depthwise, strided", "conv", (1, 9, 23, 19), ((5, 5, 1, 19),), ("bias",), GROUPED | {"strides": 2}, {}),
    Fused("depthwise, 1D", "depthwise_conv", (3, 40, 6), ((2, 1, 6),), ("bias",), {"padding": "CAUSAL"}, {}),
    Fused(
        "depthwise, 3D", "depthwise_conv", (1, 3, 4, 5, 6), ((2, 2, 3, 1, 6),), ("bias",), {"kernel_dilation": 2}, {}
    ),
    Fused("multiplied", "depthwise_conv", (2, 5, 7, 7), ((3, 3, 1, 21),), SCALE_AND_BIAS, {"padding": "SAME"}, {}),
    # The kernel sums 256 features at a time: these are more.
    Fused("contracted", "conv", (1, 5, 6, 285), ((3, 3, 15, 19),), SCALE_AND_BIAS, GROUPED, {}),
    Fused("pointwise, deep", "pointwise_conv", (1, 5, 7, 1100), ((1, 1, 1100, 37),), SCALE_AND_BIAS, {}, {}),
    Fused("ordinary", "conv", (1, 9, 9, 3), ((3, 3, 3, 33),), ("bias",), {"strides": 2}, {}),
    Fused("separable", "separable_conv", (1, 7, 9, 19), ((3, 3, 1, 19), (1, 1, 19, 6)), ("depthwise_bias",), {}, {}),
)


@functools.cache
def with_each_activation(number, dtype):
    """Operands, the program with each activation, which selects its instruction set at run time, and exact results."""
    form = FORMS[number]
    name = "depthwise_activation" if form.function == "separable_conv" else "activation"
    inputs, *rest = form.arrays(dtype)
    kernels = [kernel / kernel[..., 0].size ** 0.5 for kernel in rest[: len(form.kernels)]]
    arrays = (2 * inputs, *kernels, *rest[len(kernels) :])
    blocks = [form._replace(activations={name: activation}) for activation in ACTIVATIONS.values()]
    program = jax.jit(lambda *arrays: [block.call(*arrays) for block in blocks]).lower(*arrays)
    exact = [array.astype(jnp.float32) for array in arrays]
    return arrays, program.as_text(), program.compile(), [block.steps(*exact) for block in blocks]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2), ("float16", 1e-3)])
@pytest.mark.parametrize("number", range(len(FORMS)), ids=lambda number: FORMS[number].name)
def test_one_kernel_computes_a_form_with_its_epilogue(instruction_set, number, dtype, tolerance):
    arrays, text, run, want = with_each_activation(number, dtype)
    assert text.count("stablehlo.custom_call") == text.count("@jds_") == len(ACTIVATIONS)
    for name, ours, theirs in zip(ACTIVATIONS, run(*arrays), want, strict=True):
        assert ours.dtype == dtype
        limit = tolerance * float(jnp.abs(theirs).max())
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, rtol=tolerance, atol=limit, err_msg=name)


EXACT = {
    "sigmoid": special.expit,
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x: x * special.ndtr(x),
    "gelu_tanh": lambda x: x * special.expit((8 / np.pi) ** 0.5 * (x + 0.044715 * x**3)),
}


@functools.cache
def of_numbers(name):
    """Numbers of every size, and a program that applies an activation to them in a kernel."""
    rng = np.random.default_rng(0)
    numbers = [rng.standard_normal(50_000) * size for size in (1e-3, 1, 5, 30)]
    special_ones = [0.0, -0.0, 1e-30, 88.7, 89, 103, 105, 1e5, 1e20, 3e38, np.inf]
    x = np.concatenate([*numbers, np.linspace(-110, 110, 100_001), special_ones, np.negative(special_ones), [np.nan]])
    x = jnp.asarray(np.resize(x, (1, 60_000, 5)), jnp.float32)
    kernel, bias = jnp.ones((1, 1, 5)), jnp.zeros(5)
    return x, jax.jit(lambda x: jds.depthwise_conv(x, kernel, bias=bias, activation=ACTIVATIONS[name]))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_the_limits_of_those_of_jax(instruction_set, name):
    x, run = of_numbers(name)
    got, want = run(x), ACTIVATIONS[name](x)
    np.testing.assert_array_equal(jnp.isnan(got), jnp.isnan(want))
    np.testing.assert_array_equal(jnp.isinf(got), jnp.isinf(want))
    is_large = jnp.abs(x) > 110
    np.testing.assert_array_equal(got[is_large], want[is_large])


@pytest.mark.parametrize("name", EXACT)
def test_activations_are_accurate(instruction_set, name):
    x, run = of_numbers(name)
    is_finite = np.abs(x) < 110
    exact = EXACT[name](np.asarray(x, np.float64)[is_finite])
    got = np.asarray(run(x), np.float64)[is_finite]
    # Near zero they are `x / 2` or, of the sigmoid, a power; elsewhere the error is a part of `x`.
    error = np.abs(got - exact)
    assert (error / np.maximum(np.abs(np.asarray(x)[is_finite]), 2.0**-126 if name != "sigmoid" else 1)).max() < 2.5e-7
    if name in ("sigmoid", "silu"):  # nothing cancels, as long as the exponential of `-x` is finite
        is_normal = np.asarray(x)[is_finite] > -87
        unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
        assert (error / np.maximum(unit, 2.0**-126))[is_normal].max() < 4
