"""Skip connections in epilogues, and the layers that are one fused op: values, derivatives, batches and mistakes."""

import functools
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blocks import assert_equal, count
from flax import nnx
from test_kernel_epilogues import FORMS

import jds
from jds.ops import _layers
from jds.ops.native import _library

DTYPES = [("float32", 1e-5), ("bfloat16", 1e-2), ("float16", 1e-3)]
with_kernels = pytest.mark.skipif(bool(_library.fault()), reason="there are no CPU kernels")


def array(*shape, dtype="float32", seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def product(x, kernel, bias):
    y = x @ kernel
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def linear(x, kernel, bias):
    return _layers.linear(x, kernel, bias, activation=jax.nn.silu)


def squeeze_excite(x, squeeze, first, excite, second):
    layers = (squeeze, first, jax.nn.relu, None), (excite, second, jax.nn.sigmoid, None)
    return _layers.squeeze_excite(x, *layers)


def plain_linear(x, kernel, bias):
    return jax.nn.silu(product(x, kernel, bias))


def plain_squeeze_excite(x, squeeze, first, excite, second):
    hidden = jax.nn.relu(product(x.mean((1, 2)), squeeze, first))
    return x * jax.nn.sigmoid(product(hidden, excite, second))[:, None, None]


def plain_mean(x):
    return x.mean((1, 2), keepdims=True)


# 1 to 4 rows have a kernel of their own; 235 columns are vectors of every number at a time, and a part of one.
LAYERS = {
    "one row": (linear, plain_linear, [(1, 70), (70, 235), (235,)]),
    "three rows": (linear, plain_linear, [(3, 70), (70, 235), (235,)]),
    "many rows": (linear, plain_linear, [(2, 5, 7, 70), (70, 45), (45,)]),
    "squeeze and excitation": (
        squeeze_excite,
        plain_squeeze_excite,
        [(7, 5, 6, 83), (83, 21), (21,), (21, 83), (83,)],
    ),
    "mean": (_layers.mean, plain_mean, [(3, 5, 6, 83)]),
}


@functools.cache
def compiled(name, dtype):
    fused, plain, shapes = LAYERS[name]
    arrays = [array(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(shapes)]
    lowered = jax.jit(fused).lower(*arrays)
    exact = plain(*(values.astype(jnp.float32) for values in arrays))
    return arrays, lowered.as_text(), lowered.compile(), exact


@with_kernels
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_one_kernel_computes_a_layer(instruction_set, name, dtype, tolerance):
    arrays, text, run, exact = compiled(name, dtype)
    assert text.count("stablehlo.custom_call") == text.count("@jds_") == 1
    got = run(*arrays)
    assert got.dtype == dtype
    limit = tolerance * float(jnp.abs(exact).max())
    np.testing.assert_allclose(got.astype(jnp.float32), exact, rtol=tolerance, atol=limit)


@pytest.mark.parametrize("name", LAYERS)
def test_derivatives_and_batches_are_those_of_the_plain_layer(name):
    fused, plain, shapes = LAYERS[name]
    arrays = [array(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    places = tuple(range(len(arrays)))
    got, want = (jax.jit(jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a))), places))(*arrays) for f in (fused, plain))
    assert_equal(got, want, 1e-4)
    several = [jnp.stack([arrays[0], arrays[0] + 1]), *arrays[1:]]
    axes = (0, *(None for _ in arrays[1:]))
    assert count(jax.vmap(fused, axes), *several) == (1, 0)
    got, want = (jax.jit(jax.vmap(f, axes))(*several) for f in (fused, plain))
    assert_equal(got, want, 1e-4)
    all_mapped = [jnp.stack([values, 2 * values]) for values in arrays]
    got, want = (jax.jit(jax.vmap(f))(*all_mapped) for f in (fused, plain))
    assert_equal(got, want, 1e-4)


@pytest.mark.parametrize("name", ["squeeze and excitation", "mean"])
def test_what_is_no_number_stays_in_its_own_image(name):
    fused, plain, shapes = LAYERS[name]
    arrays = [array(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    arrays[0] = arrays[0].at[1, 2, 3, 4].set(jnp.nan)
    got, want = jax.jit(fused)(*arrays), plain(*arrays)
    np.testing.assert_array_equal(jnp.isnan(got), jnp.isnan(want))


def test_an_unknown_activation_is_computed_as_well():
    arrays = [array(*shape, seed=seed) for seed, shape in enumerate(LAYERS["squeeze and excitation"][2])]
    x, squeeze, first, excite, second = arrays
    got = _layers.squeeze_excite(x, (squeeze, first, jnp.sin, None), (excite, second, jax.nn.sigmoid, None))
    hidden = jnp.sin(product(x.mean((1, 2)), squeeze, first))
    assert_equal(got, x * jax.nn.sigmoid(product(hidden, excite, second))[:, None, None], 1e-4)
    assert_equal(_layers.linear(x, squeeze, first, activation=jnp.sin), jnp.sin(product(x, squeeze, first)), 1e-4)
    assert_equal(_layers.linear(x[0, 0, 0], squeeze, first), x[0, 0, 0] @ squeeze + first, 1e-4)


@functools.cache
def with_skip(number, dtype):
    form = FORMS[number]
    arrays = form.arrays(dtype)
    name = "pointwise_activation" if form.function == "separable_conv" else "activation"
    form = form._replace(activations={name: jax.nn.silu})
    shape = jax.eval_shape(form.call, *arrays).shape
    skip = array(*shape, dtype=dtype, seed=1)

    def run(skip, *arrays):
        return form._replace(options={**form.options, "skip": skip}).call(*arrays)

    lowered = jax.jit(run).lower(skip, *arrays)
    exact = [values.astype(jnp.float32) for values in arrays]
    return (skip, *arrays), lowered.as_text(), lowered.compile(), form.steps(*exact) + skip.astype(jnp.float32)


@with_kernels
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("number", range(len(FORMS)), ids=lambda number: FORMS[number].name)
def test_a_skip_connection_is_part_of_the_kernel(instruction_set, number, dtype, tolerance):
    arrays, text, run, exact = with_skip(number, dtype)
    assert text.count("stablehlo.custom_call") == text.count("@jds_") == 1
    limit = tolerance * float(jnp.abs(exact).max())
    np.testing.assert_allclose(run(*arrays).astype(jnp.float32), exact, rtol=tolerance, atol=limit)


def test_a_skip_connection_has_derivatives_and_batches():
    x, kernel, bias, skip = array(3, 6, 5, 4), array(1, 1, 4, 5), array(5), array(3, 6, 5, 5)

    def fused(x, kernel, bias, skip):
        return jds.pointwise_conv(x, kernel, bias=bias, activation=jax.nn.silu, skip=skip)

    def plain(x, kernel, bias, skip):
        return jax.nn.silu(product(x, kernel[0, 0], bias)) + skip

    got, want = (
        jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a))), (0, 1, 2, 3))(x, kernel, bias, skip) for f in (fused, plain)
    )
    assert_equal(got, want, 1e-4)
    # The image, what is added, or both are mapped: with as many examples, one op; a mapped kernel has no such form.
    for axes, ops in (((0, 0), 1), ((0, None), 1), ((None, 0), 1)):
        both = [jnp.stack([a, a + 1]) if axis == 0 else a for a, axis in zip((x, skip), axes, strict=True)]
        mapped = [jax.vmap(lambda x, s, f=f: f(x, kernel, bias, s), axes) for f in (fused, plain)]
        assert count(mapped[0], *both) == (ops, 0)
        assert_equal(*(f(*both) for f in mapped), 1e-4)
    for batch in ((), (2, 3)):
        image, added = array(*batch, 6, 5, 4), array(*batch, 6, 5, 5)
        assert_equal(fused(image, kernel, bias, added), plain(image, kernel, bias, added), 1e-4)


def test_a_skip_connection_alone_is_an_epilogue():
    x, kernel = array(1, 6, 5, 4), array(3, 3, 1, 4)
    assert count(lambda x: jds.depthwise_conv(x, kernel, skip=x), x) == (1, 0)
    assert_equal(jds.depthwise_conv(x, kernel, skip=x), x + jds.depthwise_conv(x, kernel), 1e-5)
    chosen = jds.select_implementation(x, kernel, feature_group_count=4, skip=x, platform="tpu").forward
    assert chosen.reason.endswith("(epilogue not fused: fused kernels run on CPUs only, not on 'tpu')")


def test_a_wrong_skip_connection_is_refused():
    x, kernel = array(2, 6, 5, 4), array(3, 3, 1, 4)
    with pytest.raises(
        ValueError, match=r"`skip` must have the shape of the result, \(2, 3, 3, 4\), got \(2, 6, 5, 4\)"
    ):
        jds.depthwise_conv(x, kernel, strides=2, skip=x)
    with pytest.raises(TypeError, match="`skip` must have the dtype of the result, float32, got bfloat16; cast it"):
        jds.depthwise_conv(x, kernel, skip=x.astype(jnp.bfloat16))


@with_kernels
@pytest.mark.parametrize(
    "name", ["mobilenetv2_035", "mobilenetv3_small_050", "efficientnet_b0", "mobilenetv4_conv_small"]
)
def test_nothing_of_xla_runs_between_the_kernels_of_a_network(name):
    model = jds.create_model(name, num_classes=5)
    model.eval()
    graph, state = nnx.split(jds.fold_batch_norm(model))
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    run = jax.jit(lambda state, images: nnx.merge(graph, state)(images))
    text = run.lower(state, images).compile().as_text()
    entry = text[text.index("ENTRY") :]
    ops = Counter(re.findall(r"= \S+ ([a-z][a-z\-]*)\(", entry))
    assert ops.keys() <= {"parameter", "constant", "bitcast", "custom-call"}, ops
    assert ops["custom-call"] == entry.count('custom_call_target="jds_')
