"""Batch normalization: the same function as Flax's, with fewer residuals for the gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jds

RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(3 + 2 * RNG.standard_normal((4, 5, 6, 8)), jnp.float32)
COTANGENT = jnp.asarray(RNG.standard_normal(INPUTS.shape), jnp.float32)
MASK = jnp.asarray(RNG.integers(0, 2, (4, 5, 6, 1)), bool)


def made(kind, **options):
    """A norm with nontrivial statistics and parameters."""
    norm = kind(8, rngs=nnx.Rngs(0), **options)
    rng = np.random.default_rng(1)
    for variable in (norm.mean, norm.var, norm.scale, norm.bias):
        if variable is not None:
            variable[...] = jax.device_put(rng.uniform(0.5, 2, variable.shape).astype(variable.dtype))
    return norm


def outcome(kind, inputs=INPUTS, *, mask=None, **options):
    """Outputs, new statistics, and gradients with respect to inputs and parameters."""
    graph, parameters, rest = nnx.split(made(kind, **options), nnx.Param, ...)

    @jax.jit
    def value_and_gradients(inputs, parameters):
        def call(inputs, parameters):
            norm = nnx.merge(graph, parameters, rest, copy=True)
            out = norm(inputs) if mask is None else norm(inputs, mask=mask)
            return out, nnx.state(norm, nnx.BatchStat)

        out, vjp, statistics = jax.vjp(call, inputs, parameters, has_aux=True)
        return out, statistics, vjp(COTANGENT.astype(out.dtype))

    return value_and_gradients(inputs, parameters)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.5, "epsilon": 0.1},
        {"use_scale": False},
        {"use_bias": False},
        {"use_running_average": True},
        {"dtype": jnp.bfloat16},
        {"use_fast_variance": False},
        {"axis": 3},
        {"mask": MASK},
    ],
    ids=str,
)
def test_values_statistics_and_gradients_match_those_of_flax(options):
    with jax.numpy_dtype_promotion("standard"):  # needed by Flax's statistics of 16-bit inputs
        ours, theirs = outcome(jds.nn.BatchNorm, **options), outcome(nnx.BatchNorm, **options)
    tolerance = 3e-2 if "dtype" in options else 1e-4
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), atol=tolerance * np.abs(b).max() + 1e-6
        )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("training", [False, True])
def test_sixteen_bits_are_rounded_once(dtype, training):
    """Computes (x - mean) / std * scale + bias without rounding these four numbers to 16 bits."""
    x = jnp.asarray([[99.5], [100.5], [101.5]], dtype)
    norm = jds.nn.BatchNorm(1, dtype=dtype, epsilon=0.0, use_running_average=not training, rngs=nnx.Rngs(0))
    values = {"mean": 100.3, "var": 1.3, "scale": 1.003, "bias": 0.1003}
    for name, value in values.items():
        getattr(norm, name).set_value(jnp.asarray([value], jnp.float32))
    mean, var = (100.5, 2 / 3) if training else (100.3, 1.3)
    wanted = np.array([[(v - mean) / var**0.5 * 1.003 + 0.1003] for v in (99.5, 100.5, 101.5)])
    for found in (norm(x), nnx.jit(lambda norm, x: norm(x))(norm, x)):
        assert found.dtype == dtype
        # In training, the variance is a difference of means of squares, which loses 2**-24 * mean**2 / var, as in Flax.
        tolerance = max(float(jnp.finfo(dtype).eps) / 1.9, 2e-3 if training else 0)
        np.testing.assert_allclose(np.asarray(found, np.float64), wanted, rtol=tolerance, atol=2e-4)


def test_running_variances_can_be_unbiased_as_in_pytorch():
    # torch.nn.BatchNorm1d normalizes by the variance of n numbers, and stores n / (n - 1) times the variance.
    x = jnp.asarray([[1.0], [2.0], [6.0]])
    norm = jds.nn.BatchNorm(1, momentum=0.9, unbiased_variance=True, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(norm(x), (x - 3) / np.sqrt(14 / 3 + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], [0.9 + 0.1 * 7], rtol=1e-6)
    norm(x[:1])  # a single number has no variance
    np.testing.assert_allclose(norm.var[...], [0.9 * (0.9 + 0.1 * 7)], rtol=1e-6)


def test_features_on_another_axis_match_those_of_flax():
    inputs = jnp.moveaxis(INPUTS, -1, 1)
    (ours, _, _), (theirs, _, _) = (
        jax.tree.map(np.asarray, run(made(kind, axis=1), inputs)) for kind in (jds.nn.BatchNorm, nnx.BatchNorm)
    )
    np.testing.assert_array_equal(ours, theirs)


def run(norm, inputs):
    return norm(inputs), norm.mean[...], norm.var[...]


@pytest.mark.parametrize("unbiased", [False, True])
def test_statistics_are_averaged_over_several_devices(unbiased):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    graph, state = nnx.split(made(jds.nn.BatchNorm, axis_name="batch", unbiased_variance=unbiased))

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("batch")), out_specs=(P("batch"), P(), P()))
    def apply(state, inputs):
        return run(nnx.merge(graph, state, copy=True), inputs)

    alone = made(jds.nn.BatchNorm, unbiased_variance=True) if unbiased else made(nnx.BatchNorm)
    for ours, theirs in zip(apply(state, INPUTS), run(alone, INPUTS), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_statistics_are_set_as_a_whole(monkeypatch):
    # On an assignment to indices, Flax compares shardings; while tracing, that prints the program so far.
    norm = made(jds.nn.BatchNorm)
    before = norm.mean[...]
    monkeypatch.setattr(nnx.Variable, "__setitem__", lambda *_: pytest.fail("assigned to its indices"))
    nnx.jit(lambda norm, inputs: norm(inputs))(norm, INPUTS)
    assert np.all(norm.mean[...] != before)


def test_training_keeps_one_array_less_than_with_flax():
    inputs = jnp.ones((8, 32, 32, 8))

    def temporary_memory(kind):
        graph, state = nnx.split(made(kind))

        def loss(kernel, inputs):
            norm = nnx.merge(graph, state, copy=True)
            out = jds.depthwise_conv(jax.nn.relu(norm(jds.depthwise_conv(inputs, kernel))), kernel)
            return jnp.sum(jnp.sin(out))

        program = jax.jit(jax.grad(loss)).lower(jnp.ones((3, 3, 1, 8)), inputs).compile()
        return program.memory_analysis().temp_size_in_bytes

    # If Flax ever needs no more than this, our implementation becomes unnecessary.
    assert temporary_memory(jds.nn.BatchNorm) <= temporary_memory(nnx.BatchNorm) - inputs.nbytes


def test_it_is_folded_like_that_of_flax():
    block = jds.nn.SeparableConv(4, 8, (3, 3), pointwise_norm=jds.nn.BatchNorm, rngs=nnx.Rngs(0))
    block.eval()
    folded = jds.fold_batch_norm(block)
    assert folded.pointwise_norm is None
    np.testing.assert_allclose(folded(INPUTS[..., :4]), block(INPUTS[..., :4]), rtol=1e-4, atol=1e-5)


def test_without_a_mode_it_raises_the_error_of_flax():
    with pytest.raises(ValueError, match="No `use_running_average` argument was provided"):
        jds.nn.BatchNorm(8, use_running_average=None, rngs=nnx.Rngs(0))(INPUTS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("mean", [0.0, 10.0, 100.3])
@pytest.mark.parametrize("is_training", [False, True])
@jax.numpy_dtype_promotion("standard")  # needed by Flax
def test_16_bits_are_as_exact_as_in_flax(dtype, mean, is_training):
    rng = np.random.default_rng(0)
    x = jax.device_put((mean + rng.standard_normal((64, 5, 7))).astype(dtype))
    layers = [
        cls(7, dtype=dtype, use_running_average=not is_training, rngs=nnx.Rngs(0))
        for cls in (nnx.BatchNorm, jds.nn.BatchNorm)
    ]
    for layer in layers:
        layer.mean[...] = jnp.full(7, mean)
        layer.var[...] = jnp.full(7, 1.3)
        layer.scale[...] = jnp.asarray(1 + 0.1 * np.arange(7), jnp.float32)
        layer.bias[...] = jnp.asarray(np.arange(7) / 7, jnp.float32)
    wide = np.asarray(x, np.float64)
    center, spread = (wide.mean((0, 1)), wide.var((0, 1))) if is_training else (mean, 1.3)
    want = (wide - center) / np.sqrt(spread + 1e-5) * (1 + 0.1 * np.arange(7)) + np.arange(7) / 7
    theirs, ours = (np.abs(np.asarray(layer(x), np.float64) - want).max() for layer in layers)
    assert ours <= 1.01 * theirs + 1e-6


@jax.numpy_dtype_promotion("standard")
def test_the_16_bits_of_a_public_report_are_right():
    # x = 99.5, 100.5, 101.5 around a mean of 100.3 became -1, 0, 0.5; Flax, which rounds the mean, has -0.88, 0, 0.88.
    layer = jds.nn.BatchNorm(
        1, dtype=jnp.bfloat16, use_running_average=True, use_bias=False, use_scale=False, rngs=nnx.Rngs(0)
    )
    layer.mean[...], layer.var[...] = jnp.array([100.3]), jnp.array([1.3])
    x = np.array([99.5, 100.5, 101.5])
    got = layer(jnp.asarray(x[:, None], jnp.bfloat16))
    np.testing.assert_allclose(np.asarray(got, np.float64)[:, 0], (x - 100.3) / np.sqrt(1.3 + 1e-5), rtol=2**-8)
