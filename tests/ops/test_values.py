"""Values and gradients against the oracle."""

import functools
import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from workloads import WORKLOADS

import jds

# Tolerances for the rounding of products and sums; the sums are short, and 16-bit results are rounded once.
TOLERANCES = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 2e-2, "float16": 2e-3}


@st.composite
def convolutions(draw):
    """Draws a function's name, its arguments and the oracle's."""
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    function = draw(st.sampled_from(["depthwise_conv", "depthwise_conv", "pointwise_conv", "conv"]))
    batch = draw(st.sampled_from([(), (1,), (2,), (2, 1), (0,)]))
    in_features = draw(st.integers(1, 4))
    size = each(1, 1) if function == "pointwise_conv" else each(1, 3)
    strides = each(1, 3)
    dilation = (1,) * rank if function == "pointwise_conv" else each(1, 2)
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    spatial = tuple(draw(st.integers(r, r + 3)) for r in reach)
    words = ["SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", *(["CAUSAL"] if rank == 1 else [])]
    pairs = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * rank)
    padding = "VALID" if function == "pointwise_conv" else draw(st.one_of(st.sampled_from(words), pairs))
    groups = {"depthwise_conv": in_features, "pointwise_conv": 1, "conv": draw(st.sampled_from([1, in_features]))}[
        function
    ]
    kernel = (*size, in_features // groups, groups * draw(st.integers(1, 3)))
    options = {"strides": strides}
    if function != "pointwise_conv":
        options |= {"padding": padding, "kernel_dilation": dilation}
    if function == "conv":
        options |= {"feature_group_count": groups}
    expected = {"strides": strides, "padding": padding, "kernel_dilation": dilation, "groups": groups}
    return function, (*batch, *spatial, in_features), kernel, options, expected


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    convolutions(),
    st.sampled_from([None, None, "native", "shifted", "xla"]),
    st.sampled_from(["float32", "float64", "bfloat16", "float16"]),
)
def test_values_and_gradients_match_the_oracle(convolution, implementation, dtype):
    function, inputs_shape, kernel_shape, options, expected = convolution
    ordinary = function == "conv" and expected["groups"] == 1 and max(kernel_shape[:-2]) > 1
    if ordinary and implementation == "shifted":
        implementation = None
    if implementation == "native" and (function != "depthwise_conv" or dtype == "float64"):
        implementation = None
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        inputs, kernel = (
            jax.device_put(rng.standard_normal(shape).astype(dtype)) for shape in (inputs_shape, kernel_shape)
        )
        call = functools.partial(getattr(jds, function), implementation=implementation, **options)
        cotangent = jax.device_put(rng.standard_normal(jax.eval_shape(call, inputs, kernel).shape).astype(dtype))

        @jax.jit
        def value_and_gradients(inputs, kernel, cotangent):
            out, vjp = jax.vjp(call, inputs, kernel)
            return out, *vjp(cotangent)

        got = value_and_gradients(inputs, kernel, cotangent)
    image = inputs.shape[1 - kernel.ndim :]
    images = np.asarray(inputs).reshape(math.prod(inputs.shape[: 1 - kernel.ndim]), *image)
    value = oracle.conv(images, kernel, **expected)
    gradients = oracle.conv(images, kernel, **expected, cotangent=cotangent)
    for name, ours, theirs, terms in zip(
        ("value", "input gradient", "kernel gradient"),
        got,
        (value, *gradients),
        (kernel.size, kernel.size, inputs.size),
        strict=True,
    ):
        assert ours.dtype == dtype
        theirs = theirs.reshape(ours.shape)
        scale = 1 + np.sqrt(max(terms, 1))
        np.testing.assert_allclose(
            np.asarray(ours, np.float64), theirs, rtol=0, atol=TOLERANCES[dtype] * scale, err_msg=name
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("implementation", ["native", "shifted", "xla"])
def test_16_bits_are_accumulated_in_32(dtype, implementation):
    # 1 + 2**-12, summed over 1024 terms: a 16-bit accumulator would lose the small terms.
    inputs = jnp.concatenate([jnp.ones((1, 1, 1)), jnp.full((1, 255, 1), 2.0**-12)], 1).astype(dtype)
    out = jds.depthwise_conv(inputs, jnp.ones((256, 1, 1), dtype), padding="VALID", implementation=implementation)
    exact = 1 + 255 * 2.0**-12
    assert abs(float(out[0, 0, 0]) - exact) <= float(jnp.finfo(dtype).eps)


@pytest.mark.parametrize("implementation", ["native", "shifted", "xla"])
def test_preferred_element_type_is_the_results_dtype(implementation):
    inputs, kernel, _ = WORKLOADS[0].arrays(jnp.bfloat16)
    out = jds.depthwise_conv(inputs, kernel, preferred_element_type=jnp.float32, implementation=implementation)
    assert out.dtype == jnp.float32
    exact = oracle.conv(inputs, kernel, strides=(1, 1), padding="SAME", kernel_dilation=(1, 1), groups=4)
    np.testing.assert_allclose(out, exact, atol=1e-5)
    point = jnp.ones((1, 1, 4, 2), jnp.bfloat16)
    assert jds.separable_conv(inputs, kernel, point, preferred_element_type=jnp.float32).dtype == jnp.float32


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_any_number_of_batch_axes_is_accepted(workload):
    inputs, kernel, _ = workload.arrays()
    out = workload.call(inputs, kernel)
    one = workload.call(inputs[0], kernel)
    many = workload.call(inputs[None, :, None], kernel)
    np.testing.assert_allclose(one, out[0], rtol=1e-5, atol=1e-6)
    assert many.shape == (1, 2, 1, *out.shape[1:])
    np.testing.assert_array_equal(many[0, :, 0], out)


def test_separable_is_depthwise_then_pointwise():
    inputs, kernel, _ = WORKLOADS[1].arrays()
    point = jnp.asarray(np.random.default_rng(1).standard_normal((1, 1, 4, 5)), jnp.float32)
    both = jds.separable_conv(inputs, kernel, point, strides=2)
    steps = oracle.conv(inputs, kernel, strides=(2, 2), padding="SAME", kernel_dilation=(1, 1), groups=4)
    steps = oracle.conv(steps, point, strides=(1, 1), padding="VALID", kernel_dilation=(1, 1))
    np.testing.assert_allclose(both, steps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 17])
def test_large_batches_are_processed_a_few_images_at_a_time(size):
    # Above the limit, the forward pass loops over the batch; the values do not change.
    inputs = jnp.asarray(np.random.default_rng(0).standard_normal((size, 64, 64, 64)), jnp.float32)
    kernel = jnp.asarray(np.random.default_rng(1).standard_normal((3, 3, 1, 64)), jnp.float32)
    call = functools.partial(jds.depthwise_conv, implementation="shifted")
    program = jax.jit(call).lower(inputs, kernel)
    assert ("stablehlo.while" in program.as_text()) == (size == 17)
    one_by_one = jnp.concatenate([call(image[None], kernel) for image in inputs])
    np.testing.assert_allclose(program.compile()(inputs, kernel), one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs_shape", "kernel_shape", "options"),
    [
        ((2, 19, 14, 3), (7, 6, 1, 6), {"strides": (2, 3), "kernel_dilation": (2, 1)}),
        ((2, 9, 9, 8, 2), (3, 4, 4, 1, 2), {"padding": ((1, 1), (5, 1), (2, 1))}),
        ((1, 90, 3), (40, 1, 3), {"padding": "CAUSAL"}),
    ],
)
def test_kernel_gradients_of_large_kernels_match_those_of_xla(inputs_shape, kernel_shape, options):
    # The kernels have so many positions that the positions of a row share their code.
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        inputs, kernel = (jnp.asarray(rng.standard_normal(shape)) for shape in (inputs_shape, kernel_shape))

        def gradient(implementation):
            call = functools.partial(jds.depthwise_conv, implementation=implementation, **options)
            return jax.jit(jax.grad(lambda k: jnp.sum(jnp.sin(call(inputs, k)))))

        program = gradient(None).lower(kernel)
        assert "stablehlo.convolution" not in program.as_text()
        np.testing.assert_allclose(program.compile()(kernel), gradient("xla")(kernel), rtol=1e-9, atol=1e-9)
