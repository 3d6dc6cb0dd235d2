"""16-bit layers, folded or not, are as exact as Flax's 16-bit layers, compared with the same layers in float64."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jds
from jds import nn
from jds.nn import LayerConfig


def followed_by_norm(conv, **sizes):
    def make(config, rngs):
        options = {"dtype": config.dtype, "param_dtype": config.param_dtype, "implementation": config.implementation}
        return nnx.Sequential(conv(8, **sizes, **options, rngs=rngs), config.norm(8, rngs=rngs))

    return make


def separable(config, rngs):
    options = {field: getattr(config, field) for field in ("dtype", "param_dtype", "implementation")}
    norms = {"depthwise_norm": config.norm, "depthwise_activation": jax.nn.relu6, "pointwise_norm": config.norm}
    return nn.SeparableConv(8, 16, (3, 3), **norms, **options, rngs=rngs)


def of(kind, *arguments, **options):
    return lambda config, rngs: kind(*arguments, **options, config=config, rngs=rngs)


LAYERS = {
    "norm": lambda config, rngs: config.norm(8, rngs=rngs),
    "depthwise": followed_by_norm(nn.DepthwiseConv, kernel_size=(3, 3)),
    "pointwise": followed_by_norm(nn.PointwiseConv, out_features=8),
    "separable": separable,
    "ordinary": of(nn.ConvNorm, 8, 16, 3, activation=jax.nn.hard_silu),
    "mixed": of(nn.ConvNorm, 8, 8, kernel_sizes=(3, 5), depthwise=True, activation=jax.nn.silu),
    "squeeze": of(nn.SqueezeExcite, 8, 4),
    "inverted": of(nn.InvertedResidual, 8, 8, 3, expanded_features=16, squeeze_features=4),
    "fused": of(nn.FusedResidual, 8, 8, 3, expanded_features=16),
    "universal": of(
        nn.UniversalInvertedResidual, 8, 8, start_kernel=3, middle_kernel=5, expanded_features=16, layer_scale=0.5
    ),
    "attention": of(nn.MultiQueryAttention, 8, heads=2, head_features=4, key_strides=2),
    "mobileone": of(nn.MobileOneBlock, 8, 8, 3, depthwise=True, branches=2),
    "convnext": of(nn.ConvNeXtBlock, 8, layer_scale=0.5),
}
CASES = [(name, jnp.bfloat16, jnp.float32) for name in LAYERS]
CASES += [(name, jnp.float16, jnp.float16) for name in ("separable", "ordinary", "mobileone")]
DRAWS = 6


@functools.cache
def models(name, dtype, param_dtype):
    """The layer made of Flax's parts, of jds's, and of Flax's in float64."""
    config = LayerConfig(functools.partial(nn.BatchNorm, dtype=dtype), dtype=dtype, param_dtype=param_dtype)
    flax = {"norm": functools.partial(nnx.BatchNorm, dtype=dtype), "implementation": "xla"}
    wide = {"norm": functools.partial(nnx.BatchNorm, dtype=jnp.float64), "dtype": jnp.float64}
    configs = (dataclasses.replace(config, **flax), config, dataclasses.replace(config, **flax | wide))
    made = [LAYERS[name](config, nnx.Rngs(0)) for config in configs]
    for model in made:
        model.eval()
    return made


def numbers(path, shape, dtype, rng, mean):
    """Parameters and statistics like those of a trained network."""
    if len(shape) > 1:
        return jax.device_put(rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(dtype))
    low, high = {"mean": (mean - 1, mean + 1), "var": (0.5, 2), "scale": (0.5, 2)}.get(path[-1], (-1, 1))
    return jax.device_put(rng.uniform(low, high, shape).astype(dtype))


@jax.jit
def call(graph, state, inputs):
    return [model(inputs) for model in nnx.merge(graph, state)]


def run(models, inputs):
    """The values of several models, compiled as one program."""
    return [np.asarray(array, np.float64) for array in call(*nnx.split(nnx.List(models)), inputs)]


@pytest.mark.parametrize("mean", [0, 3, 100])
@pytest.mark.parametrize(("name", "dtype", "param_dtype"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_the_error_is_at_most_that_of_flax(name, dtype, param_dtype, mean):
    """Averaged over several draws: with few channels, Flax's four rounded numbers may be close by chance."""
    rng = np.random.default_rng(mean)
    squares = np.zeros(3)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs, ours, wide = models(name, dtype, param_dtype)
        flat = nnx.to_flat_state(nnx.state(ours, (nnx.Param, nnx.BatchStat)))
        for _ in range(DRAWS):
            drawn = {path: numbers(path, v.get_value().shape, v.get_value().dtype, rng, mean) for path, v in flat}
            for model in (theirs, ours, wide):
                nnx.update(model, nnx.from_flat_state([(path, v.replace(drawn[path])) for path, v in flat]))
            # With large means, one kernel for all branches is less exact than the branches: see `reparameterize`.
            one_kernel = name == "mobileone" and mean == 0
            folded = jds.reparameterize(ours) if one_kernel else jds.fold_batch_norm(ours)
            inputs = jax.device_put(rng.normal(mean, 1, (2, 9, 8, 8)).astype(dtype))
            *found, wanted = run([theirs, ours, folded, wide], inputs)
            squares += [np.mean((values - wanted) ** 2) for values in found]
    assert np.all(np.sqrt(squares[1:]) <= 1.05 * np.sqrt(squares[0])), np.sqrt(squares)
