"""What `accelerate` and `install` keep of a program and of its calls, and what they accept."""

import functools
import inspect
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from plain import arrays, convolutions, convolve, network
from programs import without_attribute

import jds

pytestmark = pytest.mark.usefixtures("quick_compilation")


def program(fun, *arguments):
    """The lowered and the compiled program without jds's attribute and without line numbers."""
    lowered = jax.jit(fun).lower(*arguments)
    compiled = re.sub(r', frontend_attributes=\{jds="auto"\}|, metadata=\{[^}]*\}', "", lowered.compile().as_text())
    return without_attribute(lowered.as_text()), [line for line in compiled.splitlines() if re.search(" = |{$", line)]


def left_alone(x, k):
    """Various operations, and convolutions that XLA runs well."""
    ordinary = convolve(jnp.tile(x, 64), jnp.ones((3, 3, 256, 8)), groups=1)
    grouped = convolve(x, jnp.ones((3, 3, 2, 8)), groups=2)
    integers = convolve(x.astype(jnp.int32), k.astype(jnp.int32))
    named = jds.depthwise_conv(x, k, implementation="xla")
    pooled = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    rest = jnp.linalg.norm(jnp.sort(x @ x.swapaxes(-1, -2), axis=-1)), jax.nn.softmax(jnp.cumsum(x, axis=1))
    return ordinary, grouped, integers, named, pooled, rest


@pytest.mark.parametrize("way", ["accelerate", "install"])
def test_other_operations_are_left_alone(way):
    def accelerated(x, k):
        return jds.accelerate(left_alone)(x, k)

    accelerated.__name__ = "left_alone"
    want = program(left_alone, *arrays())
    if way == "accelerate":
        got = program(accelerated, *arrays())
    else:
        jds.install()
        try:
            got = program(left_alone, *arrays())
        finally:
            jds.uninstall()
    assert want[0].count("stablehlo.convolution") == 4
    assert got == want


@pytest.fixture
def installed():
    jds.install()
    yield
    jds.uninstall()


def test_any_pytree_and_keyword_arguments_are_accepted():
    x, k = arrays()

    def fun(images, /, weights, *, scale=1.0, names=()):
        return {"out": (network(images, weights["kernel"]) * scale, None), "names": len(names)}

    for accelerated in (jds.accelerate(fun), jds.accelerate(jax.jit(fun, static_argnames="names"))):
        got = accelerated(x, weights={"kernel": k}, scale=2.0, names=("a", "b"))
        want = fun(x, weights={"kernel": k}, scale=2.0, names=("a", "b"))
        assert jax.tree.structure(got) == jax.tree.structure(want)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)
    assert inspect.signature(jds.accelerate(fun)) == inspect.signature(fun)
    assert jax.jit(jds.accelerate(fun), static_argnames="names")(x, {"kernel": k}, names=("a",))["names"] == 1


def test_donation_is_kept():
    x, k = arrays()

    def fun(x, k):
        return network(x, k)

    jitted = jax.jit(fun, donate_argnums=0)
    donated = "tf.aliasing_output"
    assert donated in jitted.lower(x, k).as_text()
    assert donated in jds.accelerate(jitted).lower(x, k).as_text()
    assert donated in jax.jit(jds.accelerate(fun), donate_argnums=0).lower(x, k).as_text()
    given = x + 0
    jds.accelerate(jitted)(given, k)
    assert given.is_deleted()
    assert not k.is_deleted()


def test_shardings_are_kept():
    x, k = arrays()
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    by_batch = NamedSharding(mesh, P("batch"))

    def fun(x, k):
        return lax.with_sharding_constraint(network(lax.with_sharding_constraint(x, by_batch), k), by_batch)

    def constraints(fun):
        return re.findall(r"sdy\.sharding_constraint .*?(<.*>)", jax.jit(fun).lower(x, k).as_text())

    assert len(constraints(fun)) == 2
    assert constraints(jds.accelerate(fun)) == constraints(fun)
    assert jds.accelerate(jax.jit(fun))(x, k).sharding == by_batch
    placed = jds.accelerate(jax.jit(network, in_shardings=(by_batch, None), out_shardings=by_batch))(x, k)
    assert placed.sharding == by_batch
    np.testing.assert_allclose(placed, network(x, k), rtol=1e-5, atol=1e-6)


def test_effects_are_kept_in_order():
    x, k = arrays()
    seen = []

    def fun(x, k):
        def body(carry, step):
            jax.debug.callback(lambda s: seen.append(int(s)), step, ordered=True)
            return network(carry, k), None

        return lax.scan(body, x, jnp.arange(4))[0]

    for accelerated in (jds.accelerate(fun), jds.accelerate(jax.jit(fun)), jax.jit(jds.accelerate(fun))):
        seen.clear()
        jax.block_until_ready(accelerated(x, k))
        jax.effects_barrier()
        assert seen == [0, 1, 2, 3]
    assert convolutions(jds.accelerate(fun), x, k) == 0


def test_named_scopes_are_kept():
    x, k = arrays()

    def fun(x, k):
        with jax.named_scope("first_block"):
            return network(x, k)

    compiled = jax.jit(jds.accelerate(fun)).lower(x, k).compile().as_text()
    names = set(re.findall(r'op_name="([^"]*)"', compiled)) - {"x", "k"}
    assert names & {"jit(fun)/first_block/ffi_call", "jit(fun)/first_block/dot_general"}  # in place of a convolution
    assert all(name.startswith("jit(fun)/first_block/") for name in names)


def test_random_bits_are_kept():
    x, k = arrays()

    def fun(x, k, key):
        kept = jax.random.bernoulli(key, 0.5, x.shape)
        return kept, jax.random.normal(jax.random.fold_in(key, 1), (5,)), network(jnp.where(kept, x, 0), k)

    got, want = (jax.jit(f)(x, k, jax.random.key(0)) for f in (jds.accelerate(fun), fun))
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_allclose(got[2], want[2], rtol=1e-5, atol=1e-6)


def test_no_retracing_on_repeated_calls():
    x, k = arrays()
    traces = []

    @jax.jit
    def jitted(x, k):
        traces.append(None)
        return network(x, k)

    outer = jax.jit(jds.accelerate(jitted))
    for _ in range(3):
        jds.accelerate(jitted)(x, k)  # a new wrapper each time
        outer(x, k)
        jax.grad(lambda x: jds.accelerate(jitted)(x, k).sum())(x)
    assert len(traces) == 1
    for _ in range(3):
        jitted(x, k)
        jds.accelerate(jitted)(x, k)
    assert len(traces) == 2  # one trace without the mark
    for _ in range(3):
        jds.install()
        jitted(x, k)
        jds.uninstall()
        jitted(x, k)
    assert len(traces) == 3


class BatchNormNetwork(nnx.Module):
    """Plain layers; calling it in training mode changes its state."""

    def __init__(self, rngs):
        self.depthwise = nnx.Conv(4, 4, (3, 3), feature_group_count=4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.depthwise(x)))


def _train_step(model, x):
    return model(x)


@pytest.mark.parametrize(
    "run",
    [
        lambda model, x: jds.accelerate(model)(x),
        lambda model, x: jds.accelerate(model.__call__)(x),
        lambda model, x: jds.accelerate(nnx.jit(_train_step))(model, x),
        lambda model, x: nnx.jit(jds.accelerate(_train_step))(model, x),
        lambda model, x: nnx.jit(lambda model, x: jds.accelerate(model)(x))(model, x),
    ],
    ids=["module", "method", "outside of nnx.jit", "inside of nnx.jit", "module in nnx.jit"],
)
def test_state_of_modules_persists(run):
    x, _ = arrays()
    got, want = BatchNormNetwork(nnx.Rngs(0)), BatchNormNetwork(nnx.Rngs(0))
    for _ in range(2):
        y, plain = run(got, x), want(x)
        np.testing.assert_allclose(y, plain, rtol=1e-4, atol=1e-5)
    assert not np.allclose(want.norm.mean[...], 0)
    assert want.dropout.rngs.count[...] == 2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6) if a.dtype == jnp.float32 else None,
        nnx.state(got),
        nnx.state(want),
    )
    assert got.dropout.rngs.count[...] == 2


def test_a_jitted_function_can_be_lowered():
    x, k = arrays()
    jitted = jax.jit(network)
    accelerated = jds.accelerate(jitted)
    assert accelerated.eval_shape(x, k).shape == x.shape
    for lowered in (
        accelerated.lower(x, k),
        accelerated.trace(x, k).lower(),
        jds.accelerate(nnx.jit(network)).lower(x, k),
    ):
        assert "stablehlo.convolution" not in lowered.as_text()
    np.testing.assert_allclose(accelerated.lower(x, k).compile()(x, k), network(x, k), rtol=1e-5, atol=1e-6)
    accelerated.clear_cache()
    # Functions made from it have their own `lower`, or none.
    assert "tf.aliasing_output" in jax.jit(accelerated, donate_argnums=0).lower(x, k).as_text()
    assert not hasattr(jax.vmap(accelerated), "lower")
    assert not hasattr(jds.accelerate(network), "lower")
    with pytest.raises(AttributeError, match="no attribute 'lowered'"):
        accelerated.lowered  # noqa: B018


def test_functions_of_every_kind_are_accelerated():
    x, k = arrays()

    class Network:
        def __init__(self, k):
            self.k = k

        def __call__(self, x):
            return network(x, self.k)

        @jds.accelerate
        def decorated(self, x):
            return self(x)

        @jds.accelerate
        @functools.partial(jax.jit, static_argnums=0)
        def jitted(self, x):
            return self(x)

        @staticmethod
        @jds.accelerate
        def static(x, k):
            """Its docstring."""
            return network(x, k)

        @classmethod
        def of_class(cls, x, k):
            return cls(k)(x)

    model = Network(k)
    for fun, arguments in (
        (jds.accelerate(model), (x,)),
        (jds.accelerate(model.__call__), (x,)),
        (model.decorated, (x,)),
        (jds.accelerate(model.decorated), (x,)),
        (model.jitted, (x,)),
        (model.static, (x, k)),
        (jds.accelerate(Network.of_class), (x, k)),
        (jds.accelerate(functools.partial(network, k=k)), (x,)),
        (functools.partial(jds.accelerate(network), k=k), (x,)),
        (jds.accelerate(jds.accelerate(network)), (x, k)),
        (jds.accelerate(jax.tree_util.Partial(network, x)), (k,)),
    ):
        assert convolutions(fun, *arguments) == 0
        np.testing.assert_allclose(fun(*arguments), network(x, k), rtol=1e-5, atol=1e-6)
    assert Network.static.__doc__ == "Its docstring."
    assert jds.accelerate(model.__call__).__self__ is model
    accelerated = jds.accelerate(network)
    assert jds.accelerate(accelerated) is accelerated

    @functools.wraps(accelerated)
    def more(x, k):
        return convolve(accelerated(x, k), k)

    assert convolutions(more, x, k) == 1
    assert convolutions(jds.accelerate(more), x, k) == 0


async def _coroutine():
    pass


def _generator():
    yield


@pytest.mark.parametrize(
    ("fun", "message"),
    [
        (3, "must be callable"),
        (nnx.Conv, "not a class"),
        ((network, network), "pass an instance; of an `init`/`apply` pair, pass `apply`"),
        (_generator, r"after the call \(accelerate the functions that it calls\)"),
        (functools.partial(_coroutine), "generator or coroutine"),
    ],
)
def test_what_cannot_be_accelerated_raises(fun, message, unchecked_types):
    with pytest.raises(TypeError, match=message):
        jds.accelerate(fun)


def test_named_implementations_are_kept_under_both(installed):
    x, k = arrays()
    for name, count in (("xla", 1), ("shifted", 0), (None, 0)):

        def named(x, k, name=name):
            return jds.depthwise_conv(x, k, implementation=name)

        assert convolutions(jds.accelerate(named), x, k) == count
        assert convolutions(jds.accelerate(jax.grad(lambda x, k: named(x, k).sum())), x, k) == count


def test_other_marks_and_the_mark_of_jds_do_not_interfere():
    x, k = arrays()

    def fun(x, k):
        with set_xla_metadata(mine="yes"):
            return network(x, k)

    text = jax.jit(jds.accelerate(fun)).lower(x, k).as_text()
    assert 'mine = "yes"' in text
    assert "stablehlo.convolution" not in text


def test_accelerate_affects_one_thread_and_install_affects_all():
    x, k = arrays()
    counts = {}

    def count(name, fun):
        counts[name] = convolutions(fun, x, k)

    def in_thread(name, fun):
        thread = threading.Thread(target=count, args=(name, fun))
        thread.start()
        return thread

    # The mark belongs to one thread; the switch affects all threads.
    started = []

    def starts_another(x, k):
        started.append(in_thread("beside", network))
        started[0].join()
        return network(x, k)

    threads = [in_thread(index, jds.accelerate(network)) for index in range(2)]
    threads += [in_thread("alone", network)]
    for thread in threads:
        thread.join()
    assert convolutions(jds.accelerate(starts_another), x, k) == 0
    assert counts == {0: 0, 1: 0, "alone": 2, "beside": 2}
    switch = threading.Thread(target=jds.install)
    switch.start()
    switch.join()
    try:
        assert convolutions(network, x, k) == 0
        in_thread("installed", network).join()
        assert counts["installed"] == 0
    finally:
        jds.uninstall()
    assert convolutions(network, x, k) == 2
