"""Peak memory: by liveness, against an interpreter that allocates and frees, and against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec

from jds import cost, zoo
from tests.cost.allocator import brute_force_peak


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def random_function(rng, depth=2):
    """Draws a function of two square matrices of the same size."""

    def draw(depth):
        return [
            _STEPS[rng.integers(len(_STEPS) if depth else _PLAIN)](rng, draw, depth) for _ in range(rng.integers(1, 5))
        ]

    steps = draw(depth)

    def run(x, y):
        for step in steps:
            x, y = step(x, y)
        return x, y

    return run


def chain(steps):
    def run(x, y):
        for step in steps:
            x, y = step(x, y)
        return x, y

    return run


def scanned(rng, draw, depth):
    body, length, stacks = chain(draw(depth - 1)), int(rng.integers(0, 5)), bool(rng.integers(2))

    def step(x, y):
        def one(carry, row):
            new, other = body(carry, carry + row)
            return new, (other if stacks else None)

        out, ys = lax.scan(one, x, y[:length] if rng else y, length=min(length, y.shape[0]))
        return out, (ys.sum(0) if stacks and length else y)

    return step


_PLAIN = 10
_STEPS = [
    lambda *_: lambda x, y: (jnp.tanh(x), y),
    lambda *_: lambda x, y: (x + y, y),
    lambda *_: lambda x, y: (x @ y, y),
    lambda *_: lambda x, y: (x, y.T),
    lambda *_: lambda x, y: (x * y.sum(0), y),
    lambda *_: lambda x, y: (jnp.concatenate([x, y])[: x.shape[0]], y),
    lambda *_: lambda x, y: (x.reshape(-1, 1).reshape(x.shape), jnp.sin(y)),
    lambda *_: lambda x, y: (y, x),
    lambda *_: lambda x, y: (jax.nn.silu(x), jax.nn.relu(y)),
    lambda *_: lambda x, y: (x.at[0].set(1.0), y),
    scanned,
    lambda rng, draw, depth: (lambda body: lambda x, y: jax.jit(body)(x, y))(chain(draw(depth - 1))),
    lambda rng, draw, depth: (lambda body: lambda x, y: lax.fori_loop(0, 4, lambda _, c: body(*c), (x, y)))(
        chain(draw(depth - 1))
    ),
]


@pytest.mark.parametrize("seed", range(30))
def test_the_peak_is_that_of_an_interpreter_that_allocates_and_frees(seed):
    rng = np.random.default_rng(seed)
    fun = random_function(rng)
    args = [jnp.asarray(rng.uniform(0.1, 0.9, (6, 6)), jnp.float32) for _ in range(2)]
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        assert cost.analyze(fun, *args).memory.bytes == brute_force_peak(fun, args)


@pytest.mark.parametrize("seed", range(14))
def test_the_peak_of_a_gradient_is_that_of_the_interpreter(seed):
    rng = np.random.default_rng(1000 + seed)
    fun = random_function(rng, depth=1)
    gradient = jax.grad(lambda x, y: sum(jnp.sum(out) for out in fun(x, y)), (0, 1))
    args = [jnp.asarray(rng.uniform(0.1, 0.9, (6, 6)), jnp.float32) for _ in range(2)]
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        assert cost.analyze(gradient, *args).memory.bytes == brute_force_peak(gradient, args)
        found = cost.analyze(gradient, *args, parameter_argnums=0).memory
        assert found.bytes == brute_force_peak(gradient, args, held=(0,))


@pytest.mark.parametrize("seed", range(12))
def test_the_peak_of_a_conditional_is_that_of_the_branch_that_needs_most(seed):
    rng = np.random.default_rng(5000 + seed)
    before, first, second, after = (random_function(rng, depth=1) for _ in range(4))
    args = [jnp.asarray(rng.uniform(0.1, 0.9, (6, 6)), jnp.float32) for _ in range(2)]

    def fun(condition, x, y):
        return *after(*lax.cond(condition, first, second, *before(x, y))), *([x] if seed % 2 else [])

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        peaks = [brute_force_peak(fun, [jnp.array(condition), *args]) for condition in (True, False)]
        assert cost.analyze(fun, jnp.array(True), *args).memory.bytes == max(peaks)


def layers(x, weights):
    return lax.scan(lambda x, w: (jnp.tanh(x @ w), x), x, weights)


def checkpointed(x, w):
    block = jax.checkpoint(lambda x: jnp.sin(jnp.tanh(x @ w) @ w))
    return jnp.sum(block(block(x)))


@pytest.mark.parametrize(
    ("fun", "sizes"),
    [
        (lambda x, w: (x, x @ w), [(32, 8), (8, 8)]),
        (lambda x, w: (x + 1, w, x), [(8, 8), (8, 8)]),
        (layers, [(32, 8), (4, 8, 8)]),
        (jax.grad(lambda weights, x: jnp.sum(layers(x, weights)[0])), [(4, 8, 8), (32, 8)]),
        (jax.grad(checkpointed, 1), [(64, 8), (8, 8)]),
        (lambda x: lax.scan(lambda x, i: (x.at[i].set(2 * x[i]), None), x, jnp.arange(4))[0], [(32, 8)]),
        (lambda cache, x: lax.dynamic_update_slice(cache, jnp.tanh(x), (1, 0)), [(32, 8), (4, 8)]),
        # All of it is read once more, or what is written is as large.
        (lambda cache, x: (lax.dynamic_update_slice(cache, x, (1, 0)).sum(), cache.max()), [(32, 8), (4, 8)]),
        (lambda x, i: jnp.sin(x).at[jnp.argsort(i)].set(jnp.cos(i)[:, None]), [(8, 1), (8,)]),
        (
            lambda x: lax.while_loop(lambda c: c[1] < 3, lambda c: (jnp.tanh(c[0] @ c[0]), c[1] + 1), (x, 0))[0],
            [(8, 8)],
        ),
        (jax.vmap(lambda x, w: jnp.sin(x @ w) @ w, (0, None)), [(4, 8, 8), (8, 8)]),
        (lambda x, w: jnp.tanh(jnp.dot(x, w).T), [(16, 8), (8, 8)]),
        (lambda x, w: (lambda y: (y.T, y.sum()))(x @ w), [(16, 8), (8, 8)]),
    ],
)
def test_the_peak_is_that_of_the_interpreter_where_arrays_are_handed_on(fun, sizes):
    rng = np.random.default_rng(0)
    args = [jnp.asarray(rng.uniform(0.1, 0.9, size), jnp.float32) for size in sizes]
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        assert cost.analyze(fun, *args, trip_counts=3).memory.bytes == brute_force_peak(fun, args)


def test_fusion_never_needs_more():
    rng = np.random.default_rng(7)
    args = [jnp.asarray(rng.uniform(0.1, 0.9, (6, 6)), jnp.float32) for _ in range(2)]
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for _ in range(10):
            memory = cost.analyze(random_function(rng), *args).memory
            assert 0 <= memory.fused_activation_bytes <= memory.activation_bytes


def test_a_device_has_its_shard_of_what_only_shard_map_reads():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, all_ = PartitionSpec("data"), PartitionSpec()
    weights, x = shape(64, 64), shape(1024, 64)

    def local(weights, x):
        return jnp.tanh(x @ weights)

    fun = jax.shard_map(local, mesh=mesh, in_specs=(all_, rows), out_specs=rows)
    memory = cost.analyze(fun, weights, x, parameter_argnums=0).memory
    shard = 1024 * 64 * 4 // 4
    assert memory.parts == {"parameters": 64 * 64 * 4, "inputs": shard, "activations": shard}
    assert memory.bytes == cost.xla(fun, weights, x).peak_bytes
    assert "the peak memory is that of one device" in " ".join(cost.analyze(fun, weights, x).notes())
    # Something else reads all of it.
    both = cost.analyze(lambda weights, x: (fun(weights, x), x.sum(0)), weights, x, parameter_argnums=0).memory
    assert both.parts["inputs"] == 4 * shard


@pytest.mark.parametrize(("dtype", "bits"), [(jnp.int4, 4), (jnp.uint4, 4), (jnp.int8, 8), (jnp.bfloat16, 16)])
def test_elements_of_less_than_a_byte_are_packed_as_in_xla(dtype, bits):
    args = shape(3, 1001), jax.ShapeDtypeStruct((1001, 5), dtype)

    def fun(x, w):
        return x @ w.astype(jnp.float32)

    found = cost.analyze(fun, *args, parameter_argnums=1)
    size = (1001 * 5 * bits + 7) // 8
    assert found.total.parameter_bytes == found.memory.parts["parameters"] == size
    assert cost.xla(fun, *args).memory.arguments == 3 * 1001 * 4 + size


def test_constants_stay_wherever_a_function_closes_over_them():
    weights, places = jnp.ones((8, 16)), jnp.arange(4)
    inner = jax.jit(lambda x: (x @ weights)[:, places])

    def scanned(x):
        return lax.scan(lambda x, _: (x + inner(x).sum(), None), x, length=3)[0]

    for fun in (inner, lambda x: inner(x) + inner(x + 1), scanned):
        found = cost.analyze(fun, shape(2, 8))
        assert found.total.parameters == 8 * 16
        assert (found.memory.parts["parameters"], found.memory.parts["state"]) == (8 * 16 * 4, 4 * 4)
    assert cost.analyze(inner, shape(2, 8), parameter_argnums=()).total.parameters == 0


def test_words_tell_what_there_is():
    assert cost.analyze(lambda: ()).memory.summary() == "Peak memory: 0 bytes."
    dot = cost.analyze(jnp.dot, shape(8, 8), shape(8, 8)).memory
    assert dot.summary() == "Peak memory: 768 bytes = 512 inputs + 256 activations."
    assert "peak memory: dot_general" in str(dot)

    def layered(x, w):
        return jax.named_scope("layer")(jnp.tanh)(x) @ w

    inside = cost.analyze(lambda x: jax.named_scope("layer")(jnp.outer)(x, x), shape(8)).memory
    assert inside.summary().endswith(", in layer.")
    assert ", outside of all layers." in cost.analyze(layered, shape(8, 8), shape(8, 8)).memory.summary()


@pytest.mark.parametrize(("parameters", "words"), [
    (200_000, "Without parameters and state 1200; 800 if"),
    (0, " In all 800 if"),
])  # fmt: skip
def test_words_do_not_repeat_a_figure(parameters, words):
    def memory(fused):
        parts = {"parameters": parameters, "activations": 1200}
        return cost.Memory(parameters + 1200, parts, "", "", fused, ())

    assert words in memory(800).summary()
    assert "fused" not in memory(1200).summary()


def network(name, size=224, batch=1):
    model = nnx.eval_shape(lambda: zoo.create_model(name))
    model.eval()
    return cost.analyze(model, shape(batch, size, size, 3))


@pytest.mark.parametrize(
    ("name", "layer", "activations", "fused"),
    [
        # The input and the output of the first pointwise layer.
        ("mobilenetv1_100", "stages/0/0/pointwise", 112**2 * (32 + 64), 112**2 * (32 + 64)),
        # Those of the depthwise layer of the second block, whose stride is 2.
        ("mobilenetv2_100", "stages/1/0/depthwise/conv", (112**2 + 56**2) * 96, (112**2 + 56**2) * 96),
        # There x · sigmoid(x) needs both factors, unless it is fused with the convolution before it.
        ("efficientnet_b0", "stages/1/0/expand", 112**2 * (96 + 96), (112**2 + 56**2) * 96),
    ],
)
def test_peaks_of_networks_are_those_counted_by_hand(name, layer, activations, fused):
    memory = network(name).memory
    assert (memory.activation_bytes, memory.fused_activation_bytes) == (4 * activations, 4 * fused)
    assert memory.layer == layer
    assert memory.bytes == memory.activation_bytes + memory.parts["parameters"] + memory.parts["state"]
    assert max(moment.bytes for moment in memory.curve) == memory.bytes
    assert network(name, batch=3).memory.activation_bytes == 3 * 4 * activations


class Dense(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = (nnx.Linear(64, 64, use_bias=False, rngs=rngs) for _ in range(2))

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


def step(model, optimizer, x):
    gradients = nnx.grad(lambda model, x: jnp.sum(model(x) ** 2))(model, x)
    optimizer.update(model, gradients)


def test_a_training_step_holds_parameters_optimizer_state_saved_activations_and_gradients():
    def make():
        model = Dense(nnx.Rngs(0))
        return model, nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    with jax.numpy_dtype_promotion("standard"):
        found = cost.analyze(step, *nnx.eval_shape(make), shape(1000, 64))
    parts, weights, map_bytes = found.memory.parts, 2 * 64 * 64 * 4, 1000 * 64 * 4
    assert parts["parameters"] == weights
    assert 2 * weights <= parts["optimizer"] <= 2 * weights + 8
    # At the end of the forward pass: the input, and the results of the layers and of the hyperbolic tangent.
    assert parts["inputs"] == map_bytes
    assert map_bytes <= parts["saved"] <= 3 * map_bytes
    assert found.memory.bytes == sum(parts.values())
    # Updated parameters replace the old ones: nothing is kept twice.
    last = found.memory.curve[-1].bytes
    assert last <= 3 * weights + 2 * weights + 64


def test_the_branch_that_needs_more_counts_even_if_the_other_one_computes_more():
    def heavy(x):
        for _ in range(9):
            x = jnp.tanh(x @ x)
        return x

    def wide(x):
        return jnp.concatenate([x] * 50).reshape(50, 8, 8).sum(0)

    found = cost.analyze(lambda x: lax.cond(x[0, 0] > 0, heavy, wide, x), shape(8, 8))
    assert found.total.macs == 9 * 8**3
    assert found.memory.bytes >= 51 * 8 * 8 * 4
    alone = cost.analyze(wide, shape(8, 8)).memory.bytes
    assert abs(found.memory.bytes - alone) <= 8 * 8 * 4 + 64


def test_a_loop_of_unknown_length_keeps_what_a_second_iteration_needs():
    def fun(x):
        return lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ c, x) + x

    x = jnp.ones((8, 8))
    assert cost.analyze(fun, x).memory.bytes == 3 * 256


def test_deeply_nested_loops_take_little_time():
    def nested(depth, x):
        return jnp.tanh(x) if not depth else lax.scan(lambda x, _: (nested(depth - 1, x), None), x, length=3)[0]

    found = cost.analyze(lambda x: nested(20, x), shape(8))
    assert found.total.counts.transcendentals == 8 * 3**20
    assert len(found.memory.curve) < 2000


SIZES = st.integers(0, 2**44)
# What a peak is the largest of, and the number of trials that it takes at most.
PEAKS = {
    "a line": (st.tuples(st.tuples(SIZES, st.integers(1, 2**40))), 4),
    "lines": (st.lists(st.tuples(SIZES, st.integers(1, 2**30)), min_size=2, max_size=4), 100),
    "steps": (st.just([]), 100),
}


@pytest.mark.parametrize("kind", PEAKS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_largest_batch_is_the_last_that_fits(kind, data):
    choices, most = PEAKS[kind]
    lines, size = data.draw(choices), data.draw(st.integers(1, 2**44))
    width, height = data.draw(st.integers(1, 2**20)), data.draw(st.integers(1, 2**40))
    calls = []

    def bytes_of(batch):
        calls.append(batch)
        return max((start + growth * batch for start, growth in lines), default=batch // width * height)

    try:
        found = cost.largest_batch(bytes_of, size)
    except ValueError:
        found = 2**24
    tried = list(calls)
    assert found == 0 or bytes_of(found) <= size
    assert found == 2**24 or bytes_of(found + 1) > size
    assert len(set(tried)) == len(tried) <= most


def test_a_memory_that_every_batch_fits_is_refused():
    with pytest.raises(ValueError, match="a batch of 16777216 fits, too"):
        cost.largest_batch(lambda batch: 1, 2)
