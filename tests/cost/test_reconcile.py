"""XLA's view of a program, instruction by instruction, and why its counts differ from those in theory."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import strategies as st
from jax import lax

import jds
from jds import cost
from jds._common.name_stack import origin
from jds._common.traceable import Traceable
from jds.cost.hlo import _parse
from jds.cost.hlo._flops import work
from jds.cost.hlo._view import read_counts

IMAGES, KERNEL = jax.ShapeDtypeStruct((2, 8, 8, 8), jnp.float32), jax.ShapeDtypeStruct((3, 3, 1, 8), jnp.float32)
MATRIX = jax.ShapeDtypeStruct((8, 8), jnp.float32)
WIDE = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)


def depthwise(images, kernel):
    with jax.named_scope("layer"):
        return lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=8
        )


def repeated(x):
    return lax.fori_loop(0, 3, lambda _, y: jnp.tanh(y @ y), x)


PROGRAMS = {
    "softmax": (jax.nn.softmax, (MATRIX,)),
    "sort": (jnp.sort, (MATRIX,)),
    "pool": (lambda x: nnx.max_pool(x, (2, 2), (2, 2)), (IMAGES,)),
    "layer": (lambda x, w: jax.nn.gelu(x @ w).sum(), (MATRIX, MATRIX)),
    "loop": (repeated, (MATRIX,)),
    "gradient of a loop": (jax.grad(lambda x: lax.scan(lambda y, _: (jnp.sin(y @ y), y), x, length=3)[0].sum()), (MATRIX,)),
    "convolution": (depthwise, (IMAGES, KERNEL)),
    "gradients": (jax.grad(lambda x, k: jnp.sum(depthwise(x, k) ** 2), (0, 1)), (IMAGES, KERNEL)),
    "strided": (
        jax.grad(lambda x, k: jnp.sum(lax.conv(x, k, (2, 2), "SAME") ** 2), (0, 1)),
        (IMAGES, jax.ShapeDtypeStruct((4, 8, 3, 3), jnp.float32)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_instructions_add_up_to_xla_s_count_of_the_program(name):
    fun, args = PROGRAMS[name]
    view = cost.xla(fun, *args)
    assert sum(i.flops for i in view.instructions) == view.compiled.flops
    assert sum(i.flops for i in view.lowered_instructions) == view.lowered.flops
    steps = cost.reconcile(fun, *args)
    assert (steps.unexplained_lowered, steps.unexplained_compiled) == (0, 0)


def causes(fun, *args):
    steps = cost.reconcile(fun, *args)
    return {step.cause: step.flops for step in (*steps.to_lowered, *steps.to_compiled)}, steps


def test_padding_is_a_cause():
    found, steps = causes(depthwise, IMAGES, KERNEL)
    # At each border, a row or column of taps is on padding: of 3·8 taps per axis, 22 are on data.
    assert found == {"padding": 2 * 2 * 8 * (22 * 22 - 24 * 24)}
    assert (steps.unexplained_lowered, steps.unexplained_compiled) == (0, 0)


def test_loops_counted_once_are_a_cause():
    found, steps = causes(repeated, MATRIX)
    assert found == {"loops counted once": -2 * 2 * 8**3, "loop counters": 2}
    assert steps.theory == 3 * 2 * 8**3
    assert steps.unexplained_lowered == 0
    assert {i.times for i in cost.xla(repeated, MATRIX).instructions if i.product_flops} == {3}


def test_loops_have_the_number_of_iterations_that_is_given():
    def loop(x):
        with jax.named_scope("loop"):
            return lax.while_loop(lambda y: y[0, 0] < 1, lambda y: y @ y, x)

    def fun(x):
        return lax.cond(x[0, 0] > 0, loop, lambda x: x @ x @ x, x)

    steps = cost.reconcile(fun, MATRIX, trip_counts={"loop": 3})
    # The condition runs four times, and the branch is chosen by an integer.
    assert steps.theory == 3 * 1024 + 4 + 1
    # XLA counts each once, so that the other branch, of two products, is more expensive.
    found = {step.cause: step.flops for step in steps.to_lowered}
    assert found == {"loops counted once": -2 * 1024 - 3, "branches": 2 * 1024 - 1024 - 1, "integers": 1}
    assert steps.unexplained_lowered == 0


def test_integers_are_a_cause():
    found, steps = causes(lambda x: x + x * x, jax.ShapeDtypeStruct((10,), jnp.int32))
    assert found == {"integers": 20}
    assert (steps.theory, steps.lowered) == (0, 20)


def test_both_count_the_most_expensive_branch():
    found, steps = causes(lambda x: lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x), MATRIX)
    assert found == {"integers": 1}
    assert (steps.unexplained_lowered, steps.unexplained_compiled) == (0, 0)


def test_multiplications_by_one_are_a_cause():
    found, steps = causes(jax.grad(lambda x: jnp.sum(x**2)), MATRIX)
    assert found["multiplications by one"] == -64
    assert (steps.unexplained_lowered, steps.unexplained_compiled) == (0, 0)


def test_removed_work_is_a_cause():
    found, steps = causes(lambda x: (x + 1) - (x + 1), MATRIX)
    assert sum(found.values()) == steps.compiled - steps.theory
    # The two sums are one.
    assert found == {"removed work": -64}
    (words,) = [step.explanation for step in steps.to_compiled]
    assert words == "XLA folds, merges or drops instructions of `add`"


def test_rounding_is_a_cause():
    x = jax.ShapeDtypeStruct((4097, 4097), jnp.float32)
    found, steps = causes(lambda x: jnp.tanh(x * 3 + 1).sum(), x)
    assert steps.theory == 3 * 4097**2 - 1
    assert steps.unexplained_lowered == steps.unexplained_compiled == 0
    assert set(found) <= {"rounding", "repeated work", "removed work", "rewritten work"}
    assert "rounding" in found


def test_devices_are_a_cause():
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, columns = jax.P("d", None), jax.P(None, "d")

    def multiply(x, w):
        return jax.lax.psum(x @ w, "d")

    sharded = jax.shard_map(multiply, mesh=mesh, in_specs=(columns, rows), out_specs=jax.P())
    x, w = jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((16, 8), jnp.float32)
    found, steps = causes(sharded, x, w)
    one = 2 * 8 * 8 * 4 + 64
    assert found == {"devices": -3 * one}
    assert (steps.theory, steps.lowered, steps.compiled, steps.devices) == (4 * one, one, one, 4)

    whole = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=jax.NamedSharding(mesh, rows))
    found, steps = causes(jnp.dot, whole, w)
    assert found == {"devices": -1536}
    assert (steps.theory, steps.lowered, steps.compiled, steps.unexplained_compiled) == (2048, 2048, 512, 0)


def test_bytes_are_those_of_each_operation():
    _, steps = causes(lambda x: jnp.sort(x) @ x, MATRIX)
    assert steps.minimum_bytes == 2 * 4 * 64
    # The sort reads and writes as much, and the product reads one array more.
    assert steps.lowered_bytes == 5 * 4 * 64


def test_sorts_are_a_cause():
    found, steps = causes(jnp.sort, MATRIX)
    assert found == {"sorts": 64 * (6 - 3)}
    assert steps.unexplained_lowered == 0


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other compilers fuse differently")
def test_element_wise_work_that_is_done_twice_is_a_cause():
    def fun(x):
        shifted = x * x + 1
        return shifted.sum(0), jnp.flip(shifted).cumsum(1)

    found, steps = causes(fun, MATRIX)
    assert found["repeated work"] > 0
    assert steps.unexplained_compiled == 0


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only XLA's CPU compiler does this")
def test_a_gradient_that_becomes_a_dense_convolution_is_found_and_named():
    found, steps = causes(jax.grad(lambda k, x: jnp.sum(depthwise(x, k) ** 2)), KERNEL, IMAGES)
    pairs = 2 * 2 * 8 * 22 * 22  # FLOPs of the forward pass, and of the gradient in theory
    assert found["dense convolution"] == 7 * pairs
    (words,) = [step.explanation for step in steps.to_compiled if step.cause == "dense convolution"]
    assert words.startswith("in layer, XLA runs a depthwise convolution or its gradient as a dense one")
    assert steps.unexplained_compiled == 0


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="calls LAPACK only on the CPU")
def test_foreign_code_is_a_cause():
    found, steps = causes(jnp.linalg.cholesky, MATRIX)
    # Theory: 8³/3 + 8²/2 + 8/6 = 204, a sum and a halving.
    assert found == {"foreign code": -204, "lowering": 64 + 1, "integers": 64}
    assert steps.foreign_calls == ("lapack_spotrf_ffi",)
    # XLA counts -1 for the call; around it are a sum, a halving, two selections and two comparisons.
    assert steps.lowered == 5 * 64 + 1
    view = cost.xla(jnp.linalg.cholesky, MATRIX)
    assert [i.flops for i in view.instructions if i.operation.startswith("custom-call")] == [None]


def test_instructions_have_the_layers_of_modules_and_the_program_its_memory():
    model = nnx.eval_shape(
        lambda: nnx.Sequential(nnx.Linear(8, 16, rngs=nnx.Rngs(0)), nnx.Linear(16, 4, rngs=nnx.Rngs(0)))
    )
    view = cost.xla(model, MATRIX)
    assert [i.layer for i in view.instructions if i.product_flops] == ["layers/0", "layers/1"]
    assert view.peak_bytes >= 4 * (64 + 8 * 16 + 16 * 4)


def test_the_table_has_the_memory_of_the_compiled_program():
    steps = cost.reconcile(jnp.dot, MATRIX, MATRIX)
    assert (steps.memory.arguments, steps.memory.results) == (2 * 256, 256)
    assert steps.memory.peak == 3 * 256 + steps.memory.temporaries
    assert "bytes of memory, compiled" in str(steps)
    assert steps.to_dict()["memory"]["peak"] == steps.memory.peak


def trained(weights, state, images):
    gradients = jax.grad(lambda weights: jnp.sum(jnp.tanh(images @ weights) ** 2))(weights)
    state = 0.9 * state + gradients
    return weights - 0.1 * state, state


@pytest.mark.parametrize(
    ("fun", "args", "causes"),
    [
        # The derivative of tanh is computed where it is needed, and the gradient lies in the memory of a result.
        (trained, (MATRIX, MATRIX, MATRIX), {"results": 1, "temporaries": -1}),
        # A constant is a parameter, but no argument.
        (lambda x: x.reshape(1, 64) @ WIDE, (MATRIX,), {"arguments": -1}),
        (lambda x, unread: x @ x, (MATRIX, MATRIX), {"arguments": -1}),
        (lambda x: jnp.linalg.solve(x, x.T) + x, (MATRIX,), {}),
        # XLA keeps what `relu` is applied to, rather than where it is positive.
        (
            jax.grad(lambda w, x: jnp.mean((jax.nn.relu(x @ w) @ w) ** 2)),
            (MATRIX, jax.ShapeDtypeStruct((4096, 8), jnp.float32)),
            {"temporaries": 1},
        ),
        (lambda x: jnp.tanh(x @ x).sum() + jnp.concatenate([x.sum(0)] * 500).sum(), (MATRIX,), {}),
    ],
)
def test_the_causes_of_a_difference_in_memory_have_its_sign(fun, args, causes):
    steps = cost.reconcile(fun, *args)
    assert steps.liveness_bytes + sum(step.bytes for step in steps.to_memory) == steps.memory.peak
    for step in steps.to_memory:
        words = {
            "arguments": ("keeps all", "not passed"),
            "results": ("not donated", "are donated"),
            "temporaries": ("memory to work in", "fuses"),
        }[step.cause]
        assert words[step.bytes < 0] in step.explanation
        assert words[step.bytes > 0] not in step.explanation
    found = {step.cause: 1 if step.bytes > 0 else -1 for step in steps.to_memory}
    assert causes.items() <= found.items()


@pytest.mark.parametrize("properties", [None, {}, {"flops": -1.0}])
def test_a_missing_key_is_not_zero(monkeypatch, properties):
    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: properties)
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda self: properties)
    monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", lambda self: None)
    view = cost.xla(jnp.dot, MATRIX, MATRIX)
    assert view.lowered == view.compiled == (None, None, None)
    assert view.peak_bytes is None
    steps = cost.reconcile(jnp.dot, MATRIX, MATRIX)
    assert steps.lowered is steps.unexplained_lowered is steps.unexplained_compiled is None


# Programs of all kinds that differ between theory and XLA.
def loss(network, images, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(network(images)), labels[:, None], 1).mean()


class Block(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, rngs=rngs, decode=False)
        self.dense = nnx.Linear(16, 16, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        x = x + self.dropout(self.attention(self.norm(x)))
        return x + jax.nn.gelu(self.dense(x), approximate=False)


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 16, (4, 4), (4, 4), rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(2)])
        self.head = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x):
        x = self.stem(x).reshape(x.shape[0], -1, 16)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


def network(name, **options):
    return nnx.eval_shape(lambda: jds.create_model(name, **options))


def forward(network, images):
    network.eval()
    return network(images)


def train(network, images, labels):
    return nnx.value_and_grad(loss)(network, images, labels)


def scanned(w, x):
    return lax.scan(lambda c, w: (jax.nn.relu(c @ w), None), x, w)[0].sum()


def remat(w, x):
    return jax.checkpoint(lambda x: jnp.sin(jnp.sin(x @ w) @ w))(x).sum()


def pooled(x):
    return nnx.max_pool(x, (3, 3), (2, 2), "SAME")


def attention(q):
    return jax.nn.dot_product_attention(q, q, q, is_causal=True)


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


VECTOR, COMPLEX, KEY = array(8), array(8, 64, dtype=jnp.complex64), jax.eval_shape(lambda: jax.random.key(0))
ROWS = jds.models.mobilenet_v3.SMALL[:3]
PHOTOS, LABELS = array(1, 32, 32, 3), array(1, dtype=jnp.int32)

KINDS = {
    "top_k and sort": (lambda x: (lax.top_k(x, 3), jnp.sort(x)), array(16, 64)),
    "cho_solve": (lambda a, b: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(a), True), b), MATRIX, MATRIX),
    "qr": (jnp.linalg.qr, MATRIX),
    "svd": (jnp.linalg.svd, MATRIX),
    "max pooling": (pooled, IMAGES),
    "max pooling, gradient": (jax.grad(lambda x: pooled(x).sum()), IMAGES),
    "fft": (jnp.fft.fft, COMPLEX),
    "rfft2": (jnp.fft.rfft2, MATRIX),
    "cumsum": (jnp.cumsum, array(128)),
    "other cumulative": (lambda x: (lax.cumprod(x, 1), lax.cummax(x, 0), lax.cumlogsumexp(x, 1)), MATRIX),
    "complex product": (lambda x: x @ x.T, COMPLEX),
    "complex arithmetic": (lambda x: jnp.abs(x * x - jnp.exp(x)) + x.sum().real, COMPLEX),
    "normal": (lambda key: jax.random.normal(key, (64,)), KEY),
    "uniform": (lambda key: jax.random.uniform(key, (64,)), KEY),
    "bits": (lambda key: jax.random.bits(key, (64,)), KEY),
    "gamma": (lambda key: jax.random.gamma(key, 2.0, (8,)), KEY),
    "functions": (lambda x: lax.erf_inv(jnp.tanh(x)) + jnp.arcsinh(x) * lax.lgamma(x) + jnp.log1p(x), MATRIX),
    "while": (lambda x: lax.while_loop(lambda c: c.sum() < 3, lambda c: c * 2, x), VECTOR),
    "batched while": (jax.vmap(lambda x: lax.while_loop(lambda c: c.sum() < 3, lambda c: c * 2, x)), MATRIX),
    "scan, partly unrolled": (lambda x: lax.scan(lambda c, _: (c @ c, None), x, length=7, unroll=2)[0], MATRIX),
    "scan, gradient": (jax.grad(scanned), array(3, 8, 8), MATRIX),
    "remat": (jax.grad(remat), MATRIX, MATRIX),
    "another branch": (lambda x: lax.cond(x[0] > 0, jnp.cumsum, lambda x: x * x * x * x, x), VECTOR),
    "softmax, gradient": (jax.grad(lambda x: jax.nn.softmax(x)[0]), VECTOR),
    "hessian": (jax.hessian(lambda x: jnp.sum(jnp.tanh(x) ** 2 * x)), VECTOR),
    "attention": (attention, array(1, 16, 4, 8)),
    "equal equations": (lambda x: jnp.cumsum(jnp.cumsum(x, 0) * 2, 0) + jnp.cumsum(x, 0), MATRIX),
    "integers": (lambda x: jnp.cumsum(x) // 3, array(16, dtype=jnp.int32)),
    "callback": (lambda x: jax.pure_callback(lambda x: x, x, x * 2) * 3, MATRIX),
    "transformer, training": (train, nnx.eval_shape(lambda: Transformer(nnx.Rngs(0))), PHOTOS, LABELS),
    "network": (forward, network("mobilenetv3_small_100", rows=ROWS), PHOTOS),
    "network without kernels": (forward, network("mobilenetv3_small_100", rows=ROWS, implementation="xla"), PHOTOS),
    "network, training": (train, network("mobilenetv3_small_050", rows=ROWS), PHOTOS, LABELS),
}  # fmt: skip
# What stays unexplained in the compiled program: XLA's compiler gives these instructions no name.
NOT_EXPLAINED = {"cumsum": 2111, "network, training": 9}


@pytest.mark.parametrize("kind", KINDS)
def test_programs_of_all_kinds_are_explained(kind):
    fun, *args = KINDS[kind]
    program = Traceable(fun, tuple(args))
    steps = cost.reconcile(program)
    assert steps.unexplained_lowered == 0
    assert steps.unexplained_compiled == NOT_EXPLAINED.get(kind, 0)
    assert ("not explained" in str(steps)) == (kind in NOT_EXPLAINED)
    assert {name for step in steps.to_lowered for name in step.primitives} <= primitives_of(program.jaxpr)
    # The marks change nothing.
    unmarked = program.lowered
    flops = read_counts(unmarked.cost_analysis(), work(_parse.parse(unmarked.as_text("hlo")))).flops
    assert steps.lowered == flops or (flops is None and steps.lowered == 0)


def primitives_of(jaxpr):
    found, inner = set(), getattr(jaxpr, "jaxpr", jaxpr)
    for eqn in inner.eqns:
        found.add(eqn.primitive.name)
        for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda value: hasattr(value, "eqns")):
            found |= primitives_of(value) if hasattr(value, "eqns") else set()
    return found


def padded(x, k):
    return lax.conv(jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), k, (1, 1), "VALID")


CHANNELS, KERNELS = array(2, 8, 8, 8), array(8, 8, 3, 3)
WHOLE = jax.ShapeDtypeStruct((8, 8), jnp.int32)

# Programs with one cause each, and the same without the cause.
PLANTED = {
    "padding": (lambda x, k: lax.conv(x, k, (1, 1), "SAME"), padded, (CHANNELS, KERNELS)),
    "loops counted once, loop counters": (
        lambda x: lax.fori_loop(0, 3, lambda _, y: y @ y, x),
        lambda x: lax.fori_loop(0, 3, lambda _, y: y @ y, x, unroll=True),
        (MATRIX,),
    ),
    "integers": (lambda x, i: (x * x, i * i + i), lambda x, i: (x * x, x * x + x), (MATRIX, WHOLE)),
    "complex numbers": (lambda x, c: (x @ x, c @ c.T), lambda x, c: x @ x, (MATRIX, COMPLEX)),
    "sorts": (lambda x: jnp.sort(x) + 1, lambda x: x + 1, (MATRIX,)),
    "uncounted work": (lambda x: lax.top_k(x + 1, 3), lambda x: x + 1, (MATRIX,)),
    "foreign code": (
        lambda a, x: lax.linalg.triangular_solve(a, x + 1, left_side=True, lower=True), lambda a, x: x + 1,
        (MATRIX, MATRIX),
    ),
    "foreign code, loop counters": (
        lambda a, x: lax.fori_loop(0, 3, lambda _, y: lax.linalg.triangular_solve(a, y, left_side=True), x + 1),
        lambda a, x: x + 1,
        (MATRIX, MATRIX),
    ),
    "loops counted once, repeated equations, loop counters": (
        jax.vmap(lambda x: lax.while_loop(lambda c: c.max() < 3, jnp.sin, x + 1)),
        lambda x: x + 1,
        (MATRIX,),
    ),
    "branches": (
        lambda x, i: lax.cond(i, lambda x: jnp.cumsum(x, 0), lambda x: x * x * x, x),
        lambda x, i: lax.cond(i, lambda x: x, lambda x: x * x * x, x),
        (MATRIX, array(dtype=bool)),
    ),
    "uncounted work, loop counters": (
        lambda x: lax.fori_loop(0, 3, lambda _, y: lax.top_k(y, 8)[0], x + 1),
        lambda x: x + 1,
        (MATRIX,),
    ),
    "fft": (lambda x: jnp.fft.fft(x) * 2, lambda x: x * 2, (COMPLEX,)),
    "lowering": (lambda x: jnp.cumsum(x + 1, 0), lambda x: x + 1, (MATRIX,)),
    "expanded functions": (lambda x: lax.erf_inv(x * 2), lambda x: x * 2, (MATRIX,)),
    "random numbers": (lambda k, x: (jax.random.bits(k, (5,)), x + 1), lambda k, x: x + 1, (KEY, MATRIX)),
    "multiplications by one": (lambda x: (x + 1) * jnp.ones((8, 8)), lambda x: x + 1, (MATRIX,)),
    "dropped work": (lambda x: lax.select(x > 0, x, x) + 1, lambda x: x + 1, (MATRIX,)),
}  # fmt: skip


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="calls LAPACK only on the CPU")
@pytest.mark.parametrize("name", PLANTED)
def test_removing_a_cause_changes_the_difference_by_its_amount(name):
    with_cause, without, args = PLANTED[name]
    before, after = cost.reconcile(with_cause, *args), cost.reconcile(without, *args)
    shared = {step.cause: step.flops for step in after.to_lowered}
    planted = {step.cause: step.flops - shared.pop(step.cause, 0) for step in before.to_lowered}
    planted = {cause: flops for cause, flops in planted.items() if flops}
    assert list(planted) == name.split(", ")
    assert not shared
    change = (before.lowered - before.theory) - (after.lowered - after.theory)
    assert change == sum(planted.values())


@pytest.mark.parametrize("implementation", ["shifted", None])
def test_padding_is_no_cause_if_a_convolution_becomes_something_else(implementation):
    found, steps = causes(lambda x, k: jds.depthwise_conv(x, k, implementation=implementation), IMAGES, KERNEL)
    if implementation == "shifted":
        assert set(found) - {"repeated work", "removed work"} == {"lowering"}
    elif steps.foreign_calls:
        assert found == {"foreign code": -steps.theory}
    assert steps.unexplained_lowered == 0


# Steps of random programs, from a matrix to a matrix.
STEPS = {
    "sin": jnp.sin,
    "product": lambda x: x @ x,
    "relu": jax.nn.relu,
    "softmax": jax.nn.softmax,
    "cumsum": lambda x: jnp.cumsum(x, 0),
    "cummax": lambda x: lax.cummax(x, 1),
    "sort": jnp.sort,
    "top_k": lambda x: x + lax.top_k(x, 2)[0].sum(),
    "argmax": lambda x: x + jnp.argmax(x, 1),
    "fft": lambda x: jnp.fft.fft(x).real,
    "complex": lambda x: (x * 1j * x).imag,
    "erf_inv": lambda x: lax.erf_inv(x),
    "random": lambda x: x + jax.random.normal(jax.random.key(0), x.shape),
    "solve": lambda x: lax.linalg.triangular_solve(x, x, left_side=True, lower=True),
    "pool": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (3, 3), (1, 1), "SAME"),
    "convolution": lambda x: lax.conv(x[None, None], x[None, None, :3, :3], (1, 1), "SAME")[0, 0],
    "loop": lambda x: lax.fori_loop(0, 3, lambda i, y: y * i + x, x),
    "scan": lambda x: lax.scan(lambda c, row: (c + row, jnp.cumsum(c)), x[0], x)[1],
    "branch": lambda x: lax.cond(x[0, 0] > 0, lambda x: jnp.cumsum(x, 1), lambda x: x @ x, x),
    "while": lambda x: lax.while_loop(lambda c: c.sum() < 3, lambda c: c * 2 + 1, x),
    "gradient": jax.grad(lambda x: jnp.sum(jnp.tanh(x @ x) ** 2)),
    "remat": jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sum(jnp.sin(jnp.sin(x))))(x)),
    "integers": lambda x: (x.astype(jnp.int32) // 2).astype(jnp.float32),
    "named": jax.named_scope("layer")(lambda x: x * x + 1),
    "inner jit": jax.jit(lambda x: x - x.mean()),
}  # fmt: skip


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=5))
def test_random_programs_are_explained_by_what_is_in_them(names):
    def fun(x):
        for name in names:
            x = STEPS[name](x)
        return x

    program = Traceable(fun, (MATRIX,))
    steps = cost.reconcile(program)
    for start, causes_, rest, end in (
        (steps.theory, steps.to_lowered, steps.unexplained_lowered, steps.lowered),
        (steps.lowered, steps.to_compiled, steps.unexplained_compiled, steps.compiled),
    ):
        assert start + sum(step.flops for step in causes_) + rest == end
        assert {name for step in causes_ for name in step.primitives} <= primitives_of(program.jaxpr)
    assert steps.unexplained_lowered == 0


@pytest.mark.parametrize(
    ("op_name", "layer", "primitive"),
    [
        ("jit(f)/dot_general", "", "dot_general"),
        ("jit(call)/blocks/0/linear/dot_general", "blocks/0/linear", "dot_general"),
        ("jit(f)/jvp(blocks/0)/while/body/closed_call/tanh", "blocks/0", "tanh"),
        ("jit(f)/transpose(jvp(a))/jvp(a)/rematted_computation/mul", "a", "mul"),
        ("jit(f)/outer/jit(inner)/scope/add", "outer/scope", "add"),
        ("jit(f)/layer/cond/branch_1_fun/dot_general", "layer", "dot_general"),
        ("jit(f)/layer/add;jit(f)/other/mul", "layer", "add"),
        ("", "", ""),
    ],
)
def test_names_of_equations_contain_their_layer(op_name, layer, primitive):
    assert origin(op_name) == (layer, primitive)


def test_text_that_is_not_a_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        _parse.parse("HloModule nothing")
