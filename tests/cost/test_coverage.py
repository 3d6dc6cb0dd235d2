"""In programs of many kinds, every equation has a rule."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from jds import cost


@pytest.fixture(autouse=True)
def lenient_promotion():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


class Transformer(nnx.Module):
    """A layer as in https://arxiv.org/abs/1706.03762, but with the normalization first."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(50, 16, rngs=rngs)
        self.first = nnx.LayerNorm(16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, 16, decode=False, dropout_rate=0.1, deterministic=False, rngs=rngs)
        self.second = nnx.RMSNorm(16, rngs=rngs)
        self.wide = nnx.Linear(16, 64, rngs=rngs)
        self.narrow = nnx.Linear(64, 16, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        x = x + self.attention(self.first(x), mask=nnx.make_causal_mask(tokens))
        return self.embed.attend(x + self.dropout(self.narrow(nnx.gelu(self.wide(self.second(x))))))


class Convolutional(nnx.Module):
    """Most of Flax's layers for images."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.grouped = nnx.Conv(8, 8, (3, 3), feature_group_count=4, rngs=rngs)
        self.up = nnx.ConvTranspose(8, 4, (2, 2), strides=2, rngs=rngs)
        self.norm = nnx.GroupNorm(4, 2, rngs=rngs)
        self.dense = nnx.LinearGeneral(4, (2, 5), rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.silu(self.conv(x)), (2, 2), (2, 2))
        x = self.norm(self.up(jax.nn.hard_swish(self.grouped(x))))
        return self.dense(nnx.avg_pool(jax.image.resize(x, (2, 9, 9, 4), "bilinear"), (3, 3)).mean((1, 2)))


class Recurrent(nnx.Module):
    """A scan over a sequence."""

    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.LSTMCell(4, 8, rngs=rngs))

    def __call__(self, x):
        return self.rnn(x)


MODELS = {
    "transformer": (Transformer, shape(2, 7, dtype=jnp.int32)),
    "convolutional": (Convolutional, shape(2, 16, 16, 3)),
    "recurrent": (Recurrent, shape(2, 5, 4)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", [optax.adamw(1e-3), optax.adafactor(1e-3)])
def test_training_steps_of_flax_models_are_counted_completely(name, optimizer):
    cls, inputs = MODELS[name]

    def make():
        model = cls(nnx.Rngs(0))
        return model, nnx.Optimizer(model, optimizer, wrt=nnx.Param)

    def step(model, optimizer, x):
        loss, gradients = nnx.value_and_grad(lambda model: jnp.mean(jax.nn.log_softmax(model(x)) ** 2))(model)
        optimizer.update(model, gradients)
        return loss

    model, state = nnx.eval_shape(make)
    forward, training = cost.analyze(model, inputs), cost.analyze(step, model, state, inputs)
    assert forward.total.unknown == training.total.unknown == {}
    assert forward.unknown_trips == ()
    products = [row for row in training.by("layer") if row.macs and row.name]
    assert products
    # Twice the forward pass, without the gradients of inputs that are not needed.
    assert 1 <= training.backward_to_forward <= 2.01


VECTOR, MATRIX = shape(12), shape(4, 6)


@pytest.mark.parametrize(
    ("fun", "args"),
    [
        (jnp.sort, (MATRIX,)),
        (jnp.median, (MATRIX,)),
        (functools.partial(jnp.quantile, q=0.3), (VECTOR,)),
        (jnp.unwrap, (VECTOR,)),
        (jnp.cumprod, (VECTOR,)),
        (jax.lax.cumlogsumexp, (VECTOR,)),
        (jnp.fft.irfft2, (shape(4, 5, dtype=jnp.complex64),)),
        (lambda x: jax.lax.top_k(x, 3), (MATRIX,)),
        (jnp.linalg.norm, (MATRIX,)),
        (jnp.linalg.inv, (shape(4, 4),)),
        (jnp.linalg.solve, (shape(4, 4), shape(4, 2))),
        (jnp.linalg.cholesky, (shape(4, 4),)),
        (jnp.linalg.slogdet, (shape(4, 4),)),
        (lambda x: jax.scipy.special.gammaln(x) + jax.scipy.special.erf(x) + jax.scipy.special.i0(x), (VECTOR,)),
        (jnp.histogram, (VECTOR,)),
        (jnp.convolve, (VECTOR, shape(3))),
        (jnp.interp, (VECTOR, VECTOR, VECTOR)),
        (jnp.roll, (VECTOR, shape(dtype=jnp.int32))),
        (lambda: jax.random.permutation(jax.random.key(0), 9), ()),
        (lambda: jax.random.categorical(jax.random.key(0), jnp.zeros(5)), ()),
        (lambda: jax.random.truncated_normal(jax.random.split(jax.random.key(1))[0], -1.0, 1.0, (4,)), ()),
        (lambda x: x.at[1].set(0).at[2].mul(3.0).at[3].max(1.0), (VECTOR,)),
        (lambda x: jnp.nonzero(x, size=4), (VECTOR,)),
        (lambda x: jnp.round(x.astype(jnp.bfloat16)).astype(jnp.int8), (VECTOR,)),
        (lambda x: jnp.vectorize(lambda a: a**2.5)(x), (VECTOR,)),
        (jax.jit(jax.vmap(lambda x: jax.lax.associative_scan(jnp.add, x))), (MATRIX,)),
        (jax.hessian(lambda x: jnp.sum(jnp.sin(x) ** 3)), (VECTOR,)),
        (jax.jacfwd(lambda x: jax.lax.map(jnp.cos, x)), (VECTOR,)),
    ],
)
def test_functions_of_jax_are_counted_completely(fun, args):
    found = cost.analyze(fun, *args)
    assert found.total.unknown == {}
    assert found.total.traffic > 0
