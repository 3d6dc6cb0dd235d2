"""Peak memory of training steps: what is in memory, and how much of it, against XLA."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen, nnx
from flax.training import train_state
from jax import lax

from jds import cost

ROWS, WIDE, NARROW = 8, 128, 64
WEIGHTS = 4 * (WIDE * WIDE + WIDE * NARROW)
OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(1e-3),
    "adamw": optax.adamw(1e-3),
    "lion": optax.lion(1e-3),
    "rmsprop": optax.rmsprop(1e-3),
    "adafactor": optax.adafactor(1e-3, min_dim_size_to_factor=32),
    "lamb": optax.lamb(1e-3),
    "clipped adam": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-3, 100))),
    "every fourth step": optax.MultiSteps(optax.adam(1e-3), 4).gradient_transformation(),
}


@pytest.fixture(autouse=True)
def promotion_as_in_optax():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def size(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


X = shape(ROWS, WIDE)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(WIDE, WIDE, use_bias=False, rngs=rngs)
        self.second = nnx.Linear(WIDE, NARROW, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(NARROW, use_bias=False)(linen.relu(linen.Dense(WIDE, use_bias=False)(x)))


def nnx_step(model, optimizer, x):
    loss, gradients = nnx.value_and_grad(lambda model, x: jnp.mean(model(x) ** 2))(model, x)
    optimizer.update(model, gradients)
    return loss


def of_nnx(transformation):
    def make():
        model = Net(nnx.Rngs(0))
        return model, nnx.Optimizer(model, transformation, wrt=nnx.Param)

    return nnx_step, (*nnx.eval_shape(make), X), {}


def of_jitted_nnx(transformation):
    _, args, options = of_nnx(transformation)
    return nnx.jit(nnx_step), args, options


def apply(weights, x):
    return jax.nn.relu(x @ weights["first"]) @ weights["second"]


def plain_step(transformation, weights, state, x):
    loss, gradients = jax.value_and_grad(lambda weights: jnp.mean(apply(weights, x) ** 2))(weights)
    updates, state = transformation.update(gradients, state, weights)
    return optax.apply_updates(weights, updates), state, loss


def of_function(transformation):
    weights = {"first": shape(WIDE, WIDE), "second": shape(WIDE, NARROW)}
    step = functools.partial(plain_step, transformation)
    return step, (weights, jax.eval_shape(transformation.init, weights), X), {"parameter_argnums": 0}


def of_donating_function(transformation):
    step, args, options = of_function(transformation)
    return jax.jit(step, donate_argnums=(0, 1)), args, options


def of_linen(transformation):
    def step(state, x):
        loss, gradients = jax.value_and_grad(lambda weights: jnp.mean(state.apply_fn(weights, x) ** 2))(state.params)
        return state.apply_gradients(grads=gradients), loss

    net = LinenNet()
    variables = jax.eval_shape(net.init, jax.random.key(0), X)
    make = functools.partial(train_state.TrainState.create, apply_fn=net.apply, tx=transformation)
    return step, (jax.eval_shape(lambda params: make(params=params), variables), X), {}


STEPS = {"NNX": of_nnx, "jitted NNX": of_jitted_nnx, "function": of_function, "donating": of_donating_function,
         "Linen": of_linen}  # fmt: skip


def parts_are_right(memory, transformation):
    """Checks what is in memory at the peak, except for the counters of steps, of which there may be several."""
    weights = jax.eval_shape(lambda: {"first": jnp.zeros((WIDE, WIDE)), "second": jnp.zeros((WIDE, NARROW))})
    state = size(jax.eval_shape(transformation.init, weights))
    assert memory.parts["parameters"] == WEIGHTS
    counters = memory.parts.get("optimizer", 0) + memory.parts.get("state", 0) - state
    assert 0 <= counters <= 8
    assert memory.bytes == sum(memory.parts.values())
    assert memory.activation_bytes == memory.bytes - WEIGHTS - state - counters
    return state + WEIGHTS


# Where the state is depends on the kind of step, and what it consists of on the optimizer. So that each pair is not run,
# all optimizers update a function's tree and the variables of NNX, and one with counters and moments is in every step.
PAIRS = [(step, name) for step in STEPS for name in OPTIMIZERS if step in ("NNX", "function") or name == "adamw"]


@pytest.mark.parametrize(("step", "optimizer"), PAIRS)
def test_all_that_is_no_parameter_and_no_state_of_the_optimizer_counts_as_gradients(step, optimizer):
    fun, args, options = STEPS[step](OPTIMIZERS[optimizer])
    memory = cost.analyze(fun, *args, **options).memory
    parts_are_right(memory, OPTIMIZERS[optimizer])
    # With few images, the peak is where the parameters are updated, or before. Then there are all gradients.
    assert WEIGHTS <= memory.parts["gradients"] < 5 * WEIGHTS
    assert memory.activation_bytes - memory.parts["gradients"] <= 2 * X.size * 4
    assert WEIGHTS <= memory.fused_activation_bytes <= memory.activation_bytes


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_fused_peak_is_near_that_of_xla_with_donated_arguments(optimizer):
    fun, args, options = of_donating_function(OPTIMIZERS[optimizer])
    memory = cost.analyze(fun, *args, **options).memory
    kept = memory.bytes - memory.activation_bytes
    found = fun.lower(*args).compile().memory_analysis()
    assert found.alias_size_in_bytes >= kept - 100
    sizes = found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes
    peak = sum(sizes) - found.alias_size_in_bytes
    assert kept + memory.fused_activation_bytes == pytest.approx(peak, rel=0.25)


@pytest.mark.parametrize("optimizer", ["momentum", "adamw", "lion"])
def test_many_images_are_saved_as_activations(optimizer):
    fun, (weights, state, _), options = of_function(OPTIMIZERS[optimizer])
    memory = cost.analyze(fun, weights, state, shape(5000, WIDE), **options).memory
    parts_are_right(memory, OPTIMIZERS[optimizer])
    assert memory.parts["inputs"] == 5000 * WIDE * 4
    # The results of the layers, the first one after its activation, and where that is positive.
    assert memory.parts["saved"] == 5000 * (4 * WIDE + 4 * NARROW + WIDE)
    assert "gradients" not in memory.parts


def test_steps_in_a_loop_need_what_one_step_needs():
    step, (weights, state, x), options = of_function(OPTIMIZERS["adamw"])

    def epoch(weights, state, x):
        def one(carry, x):
            weights, state, loss = step(*carry, x)
            return (weights, state), loss

        return lax.scan(one, (weights, state), x)

    alone = cost.analyze(step, weights, state, x, **options).memory
    memory = cost.analyze(epoch, weights, state, shape(4, ROWS, WIDE), **options).memory
    parts_are_right(memory, OPTIMIZERS["adamw"])
    assert 0 <= memory.bytes - alone.bytes <= 4 * X.size * 4 + 100
    assert 0 <= memory.fused_activation_bytes - alone.fused_activation_bytes <= 6 * X.size * 4


def test_a_gradient_in_proportion_to_weights_does_not_replace_them():
    def penalized(weights, x):
        return jnp.sum(jnp.tanh(x @ weights)) + jnp.sum(weights**2)

    memory = cost.analyze(jax.grad(penalized), shape(WIDE, WIDE), X, parameter_argnums=0).memory
    assert memory.parts["parameters"] == WIDE * WIDE * 4
    assert memory.parts["gradients"] >= WIDE * WIDE * 4


def test_a_forward_pass_after_an_update_has_activations():
    def step(weights, x):
        weights = weights - 0.1 * jax.grad(lambda weights: jnp.sum(jnp.tanh(x @ weights)))(weights)
        return weights, jnp.concatenate([x @ weights] * 50)

    memory = cost.analyze(step, shape(WIDE, WIDE), X, parameter_argnums=0).memory
    assert memory.parts["activations"] >= 50 * ROWS * WIDE * 4
    assert memory.parts["parameters"] == WIDE * WIDE * 4
    assert "optimizer" not in memory.parts


def test_what_is_recomputed_is_not_saved():
    def loss(weights, x, block):
        return jnp.sum(block(weights, block(weights, x)))

    def block(weights, x):
        return jnp.sin(jnp.tanh(x @ weights) @ weights)

    def parts(block):
        fun = jax.grad(lambda weights, x: loss(weights, x, block))
        return cost.analyze(fun, shape(WIDE, WIDE), shape(5000, WIDE), parameter_argnums=0).memory.parts

    one = 5000 * WIDE * 4
    assert parts(block)["saved"] >= 4 * one
    assert parts(jax.checkpoint(block))["saved"] == one
    assert one <= parts(jax.checkpoint(block))["activations"] <= 3 * one


def test_scanned_layers_save_each_input_and_keep_one_copy_of_the_parameters():
    def loss(weights, x):
        return jnp.sum(lax.scan(lambda x, weights: (jnp.tanh(x @ weights), None), x, weights)[0])

    rows, layers = 5000, 6
    memory = cost.analyze(jax.grad(loss), shape(layers, WIDE, WIDE), shape(rows, WIDE), parameter_argnums=0).memory
    assert memory.parts["parameters"] == layers * WIDE * WIDE * 4
    # Of each layer, its input and its result's derivative.
    assert memory.parts["saved"] >= 2 * layers * rows * WIDE * 4
    assert memory.parts.get("inputs", 0) <= rows * WIDE * 4


def test_a_cache_is_updated_in_place():
    class Cached(nnx.Module):
        def __init__(self):
            self.cache, self.place = nnx.Cache(jnp.zeros((512, WIDE))), nnx.Variable(jnp.array(0))

        def __call__(self, x):
            self.cache[...] = lax.dynamic_update_slice(self.cache[...], x, (self.place[...], 0))
            self.place[...] += 1
            return self.cache[...].sum(0)

    memory = cost.analyze(nnx.eval_shape(Cached), shape(1, WIDE)).memory
    assert memory.parts["state"] == 512 * WIDE * 4 + 4
    assert memory.activation_bytes <= 3 * WIDE * 4
