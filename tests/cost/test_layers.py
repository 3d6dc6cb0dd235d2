"""Layers are the paths of modules, in the program and in what XLA makes of it."""

import functools

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.extend.core import jaxpr_as_fun
from networks import SMALLEST

from jds import cost, zoo
from jds._common.name_stack import origin
from jds._common.traceable import Traceable
from jds.cost import _trial
from jds.cost.hlo import mark, origin_of, sources
from jds.cost.hlo._origins import program_of


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def layers(*args, **kwargs):
    return [row.name for row in cost.analyze(*args, **kwargs).by("layer")]


def paths(model):
    return {"/".join(map(str, path)) for path, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)}


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto", "mobileone_s0", "mixnet_s"])
def test_all_rows_of_a_training_step_are_modules(name):
    model = nnx.eval_shape(lambda: zoo.create_model(name, **SMALLEST[name]))
    with jax.numpy_dtype_promotion("standard"):
        found = cost.analyze(nnx.grad(lambda model, x: jnp.sum(model(x))), model, shape(2, 32, 32, 3))
    assert {row.name for row in found.by("layer")} <= paths(model)


class Repeated(nnx.Module):
    """A module whose names are those that JAX's lowering adds, and the same ones again."""

    def __init__(self, rngs, depth=2):
        self.body = nnx.Linear(32, 32, rngs=rngs)
        self.cond = nnx.Linear(32, 32, rngs=rngs)
        self.checkpoint = nnx.List([nnx.Linear(32, 32, rngs=rngs) for _ in range(2)])
        if depth:
            self.closed_call = Repeated(rngs, depth - 1)

    def __call__(self, x):
        x = jax.lax.scan(lambda x, _: (jnp.tanh(self.cond(self.body(x))), None), x, length=2)[0]
        for layer in self.checkpoint:
            x = nnx.remat(lambda layer, x: jnp.sin(layer(x)))(layer, x)
        return self.closed_call(x) if hasattr(self, "closed_call") else x


@pytest.mark.parametrize("with_gradient", [False, True])
def test_instructions_belong_to_the_modules_of_the_program(with_gradient):
    model = Repeated(nnx.Rngs(0))
    fun = nnx.grad(lambda model, x: jnp.sum(model(x))) if with_gradient else lambda model, x: model(x)
    args = model, jnp.ones((32, 32))
    measured = cost.measure_program(fun, *args, seconds=0.0)
    rows = set(layers(fun, *args))
    assert rows <= paths(model)
    assert set(measured.layers) - {"(call)", "(loops)", "(not attributed)"} <= rows
    # Products are instructions of their own, those of equal names in different modules, too.
    products = {row.name for row in cost.analyze(fun, *args).by("layer") if row.macs}
    assert products <= set(measured.layers)
    assert sum(time.median for time in measured.layers.values()) == pytest.approx(measured.total.median)


@pytest.mark.parametrize(
    ("op_name", "layer"),
    [
        ("jit(f)/stages/1/1/dot_general", "stages/1/1"),
        ("jit(f)/while/body/eval_jaxpr/cell/dense/dot_general", "cell/dense"),
        ("jit(f)/a/cond/branch_1_fun/b/mul", "a/b"),
        ("jit(f)/body/cond/mul", "body/cond"),
        ("jit(f)/a/jvp(a)/mul", "a/a"),
        ("jit(f)/transpose(jvp(a))/b/jvp(a)/b/mul", "a/b"),
        ("jit(f)/transpose(jvp(a))/while/body/closed_call/b/b/checkpoint/rematted_computation/c/mul", "a/b/c"),
        ("jit(f)/a/checkpoint/a/mul", "a/a"),
        ("jit(f)/q/bthd,bshd->bhts/dot_general", "q"),
    ],
)
def test_names_that_lowering_adds_are_told_from_scopes(op_name, layer):
    assert origin(op_name).layer == layer


def test_all_methods_belong_to_their_module():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(10, 4, rngs=rngs)
            self.encoder = Encoder(rngs)

        def __call__(self, tokens):
            return self.embed.attend(self.encoder.encode(self.embed(tokens)))

    class Encoder(nnx.Module):
        def __init__(self, rngs):
            self.weight = nnx.Param(jnp.ones((4, 4)))

        def encode(self, x):
            return self._scale(x @ self.weight[...])

        def _scale(self, x):
            return 2 * x

    rows = {row.name: row for row in cost.analyze(Tied(nnx.Rngs(0)), shape(3, dtype=jnp.int32)).by("layer")}
    assert {name: row.macs for name, row in rows.items()} == {"embed": 3 * 10 * 4, "encoder": 3 * 4 * 4}
    assert rows["encoder"].flops == 2 * 3 * 4 * 4 + 3 * 4


def test_a_jitted_method_belongs_to_its_module():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.weight, self.linear = nnx.Param(jnp.ones((4, 4))), nnx.Linear(4, 4, rngs=rngs)

        @nnx.jit
        def __call__(self, x):
            return self.linear(x) @ self.weight[...]

    class Outer(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = Block(rngs), Block(rngs)

        def __call__(self, x):
            return self.second(self.first(x))

    assert layers(Outer(nnx.Rngs(0)), shape(2, 4)) == ["first/linear", "first", "second/linear", "second"]


def test_equinox_modules_have_their_paths():
    model = equinox.nn.MLP(8, 8, 8, 2, key=jax.random.key(0))
    found = cost.analyze(model, shape(8))
    assert [row.name for row in found.by("layer") if row.macs] == ["layers/0", "layers/1", "layers/2"]
    assert found.total.parameters == 3 * 72
    gradient = cost.analyze(equinox.filter_grad(lambda model, x: jnp.sum(model(x))), model, shape(8))
    assert {row.name for row in gradient.by("layer") if row.macs} == {"layers/0", "layers/1", "layers/2"}
    assert gradient.total.parameters == 3 * 72
    assert not hasattr(model.layers[0], "_jds_cost_path")


@pytest.mark.parametrize("argnums", [None, 0])
def test_parameters_of_other_forms_are_recognized(argnums):
    linear = nnx.Linear(8, 8, rngs=nnx.Rngs(0))
    graph, state = nnx.split(linear)
    assert cost.analyze(lambda m, x: m(x), linear, shape(2, 8), parameter_argnums=argnums).total.parameters == 72

    def merged(state, x):
        return nnx.merge(graph, state)(x)

    assert cost.analyze(merged, state, shape(2, 8), parameter_argnums=argnums).total.parameters == 72

    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x, train=False):
            return flax.linen.BatchNorm(use_running_average=not train)(flax.linen.Dense(16)(x))

    variables = jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((2, 8)))
    found = cost.analyze(Net().apply, variables, shape(2, 8), parameter_argnums=argnums, train=False)
    assert found.total.parameters == 8 * 16 + 16 + 2 * 16


def test_booleans_are_options_and_numbers_are_explained():
    def fun(x, train):
        return x * 2 if train else x

    assert cost.analyze(fun, shape(8), True).total.flops == 8
    assert cost.analyze(fun, shape(8), train=False).total.flops == 0
    with pytest.raises(ValueError, match=r"Close over one that must stay a number: `lambda x: f\(x, 2\)`"):
        cost.analyze(jax.jit(lambda x, n: x * n, static_argnums=1), shape(8), 3)
    with pytest.raises(ValueError, match="Pass the method `apply` of a Linen module"):
        cost.analyze(flax.linen.Dense(3), shape(2, 4))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"trip_counts": -3}, "`trip_counts` must be a number of iterations"),
        ({"trip_counts": {"": 1.5}}, "`trip_counts` must be a number of iterations"),
        ({"trip_counts": {"typo": 5}}, r"must name layers with `while` loops \(''\), got typo"),
        ({"platform": "toaster"}, "`platform` must be one of cpu, gpu"),
    ],
)
def test_wrong_options_are_refused(options, match, unchecked_types):
    with pytest.raises(ValueError, match=match):
        cost.analyze(lambda x: jax.lax.while_loop(lambda c: c.sum() < 3, lambda c: c * 2, x), shape(4), **options)


def test_symbolic_sizes_are_refused():
    (batch,) = jax.export.symbolic_shape("b")
    with pytest.raises(ValueError, match=r"must be numbers, got float32\[b,8\]; choose a size"):
        cost.analyze(lambda x: x @ x.T, shape(batch, 8))


@jax.named_scope("growth")
def until_large(x):
    return jax.lax.while_loop(lambda c: jnp.abs(c).sum() < 3, lambda c: c * 2, x)  # never ends with zeros


ENDLESS = {
    "loop": until_large,
    "in a loop": lambda x: jax.lax.scan(lambda c, _: (until_large(c), None), x, length=2)[0],
    "in a branch": lambda x: jax.lax.cond(x[0, 0] < 2, until_large, lambda x: x, x),
    "several at once": jax.vmap(until_large),
    "several calls": jax.jit(lambda x: until_large(jax.jit(until_large)(x))),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_loop_that_does_not_end_is_given_up(name):
    with pytest.raises(ValueError, match=r"a `while` loop in growth did not end within 0\.05 s\. .* are zeros: pass"):
        cost.measure_program(ENDLESS[name], shape(2, 3), seconds=0.0, time_limit=0.05)
    # With arrays with which it ends, it is measured.
    assert cost.measure_program(ENDLESS[name], jnp.ones((2, 3)), seconds=0.0, time_limit=5.0).total.median > 0


def test_loops_that_can_be_stopped_compute_the_same():
    x = jnp.arange(6.0).reshape(2, 3) + 0.01
    for fun in ENDLESS.values():
        marked = mark(Traceable(fun, (x,)))
        limited = _trial._Limited(_trial._Clock(60.0)).jaxpr(marked.jaxpr)
        (found,) = jaxpr_as_fun(limited)(x)
        assert jnp.array_equal(found, fun(x))


@jax.named_scope("cell")
def cell(c, w):
    with jax.named_scope("gate"):
        c = jax.nn.silu(c @ w)
    return jax.nn.relu(c), jax.nn.relu6(c)


@jax.named_scope("cell")
def only_relu(c, w):
    return jax.nn.relu(c @ w), None


@jax.named_scope("block")
def scanned(body, w, x):
    return jax.lax.scan(body, x, w)[0].sum()


class LinenBlock(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x, _):
        return x + flax.linen.Dense(8)(flax.linen.relu(flax.linen.Dense(16)(flax.linen.LayerNorm()(x)))), None


class LinenNet(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "length": 2}
        return flax.linen.scan(flax.linen.remat(LinenBlock), **axes)(name="blocks")(x, None)[0]


def gradient_of_linen(variables, x):
    return jax.grad(lambda variables: LinenNet().apply(variables, x).sum())(variables)


WEIGHTS, ROWS = shape(3, 8, 8), shape(8, 8)
LOOPS = {
    "relu": (jax.grad(functools.partial(scanned, only_relu)), WEIGHTS, ROWS),
    "relu, remat": (jax.grad(functools.partial(scanned, jax.checkpoint(only_relu))), WEIGHTS, ROWS),
    "several": (jax.grad(functools.partial(scanned, cell), (0, 1)), WEIGHTS, ROWS),
    "several, remat": (jax.grad(functools.partial(scanned, jax.checkpoint(cell)), (0, 1)), WEIGHTS, ROWS),
    "forward": (functools.partial(scanned, cell), WEIGHTS, ROWS),
    "linen": (gradient_of_linen, jax.eval_shape(LinenNet().init, jax.random.key(0), jnp.ones((4, 8))), shape(4, 8)),
    "lstm": (nnx.grad(lambda m, x: m(x).sum()), nnx.RNN(nnx.LSTMCell(4, 4, rngs=nnx.Rngs(0))), shape(1, 3, 4)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_marks_tell_the_layers_that_an_analysis_has(name):
    fun, *args = LOOPS[name]
    program = Traceable(fun, tuple(args))
    analysis, marked = cost.analyze(program), mark(program)
    flat, chains = program_of(marked, analysis.conventions)
    assert [each.name for each in flat.operations] == [each.name for each in analysis.operations]
    assert [marked.layer(chain) for chain in chains] == ["/".join(each.path) for each in analysis.operations]
    # Each instruction has an equation; only loops, and what they call, may be in a layer without other equations.
    known = {name: origin_of(marked, source.chain) for name, source in sources(marked).items() if source.chain}
    assert {each.name for each in cost.xla(program).instructions} <= set(known)
    rows = {row.name for row in analysis.by("layer")}
    assert {each.primitive for each in known.values() if each.layer not in rows} <= {"scan", "remat2", "checkpoint"}


@pytest.mark.parametrize("by", ["layer", "fused", "kind", "operation", "equation"])
@pytest.mark.parametrize("name", ["linen", "several", "lstm"])
def test_the_measured_times_of_all_rows_are_those_of_their_operations(name, by):
    fun, *args = LOOPS[name]
    program = Traceable(fun, tuple(args))
    measured = measured_once(name)
    peak = cost.Peak("made up", {"float32": 1e9}, bytes=1e9, source="nowhere")
    found = cost.estimate(cost.analyze(program), peak, by, measured)
    rest = {row.name: row.measured / measured.total.median for row in found.other_rows}
    rows = sum(row.measured or 0.0 for row in found.rows)
    assert rows + sum(rest.values()) * measured.total.median == pytest.approx(measured.total.median)
    assert set(rest) <= {"", "(call)", "(loops)", "(no single row)"}
    assert rest.get("(no single row)", 0.0) < 0.05
    assert measured.layers.get("(not attributed)") is None


@functools.cache
def measured_once(name):
    fun, *args = LOOPS[name]
    return cost.measure_program(fun, *args, seconds=0.0)


def test_what_xla_splits_is_not_given_to_another_layer():
    def both(x):
        with jax.named_scope("sort"):
            first = jnp.sort(x)
        with jax.named_scope("sums"):
            return first, jax.lax.cumlogsumexp(x, axis=1)

    found = cost.measure_program(both, jnp.ones((64, 512)), seconds=0.0)
    assert found.layers["(not attributed)"].median > found.layers["sort"].median


@pytest.mark.parametrize("by", ["fused", "kind", "operation", "equation"])
def test_products_have_their_time_however_xla_names_them(by):
    def loss(weights, x):
        for weight in weights:
            x = jnp.tanh(x @ weight)
        return x.sum()

    program = Traceable(jax.grad(loss), ([jnp.ones((600, 600))] * 2, jnp.ones((600, 600))))
    analysis, peak = cost.analyze(program), cost.Peak("made up", {"float32": 1e9}, bytes=1e9, source="nowhere")
    found = cost.estimate(analysis, peak, by, cost.measure_program(program, seconds=0.0))
    products = [row.measured for row, group in zip(found.rows, analysis.by(by), strict=True) if group.macs]
    assert None not in products
    # Ten times the work of everything else.
    others = sum(row.measured or 0.0 for row in found.rows) - sum(products)
    assert sum(products) > others
