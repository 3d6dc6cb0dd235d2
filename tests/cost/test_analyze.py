"""Whole programs: layers, loops, branches, devices, and unknown costs."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.experimental import pallas
from jax.sharding import PartitionSpec

import jds
from jds import cost
from jds.cost import _following


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


class Block(nnx.Module):
    def __init__(self, features, *, rngs):
        self.linear = nnx.Linear(features, features, rngs=rngs)
        self.norm = nnx.BatchNorm(features, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.linear(x)))


class Network(nnx.Module):
    def __init__(self, *, rngs):
        self.stem = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.blocks = nnx.List([Block(8, rngs=rngs) for _ in range(2)])

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x


LAYERS = ["stem", "blocks/0/linear", "blocks/0/norm", "blocks/0", "blocks/1/linear", "blocks/1/norm", "blocks/1"]
IMAGES = shape(2, 6, 6, 3)


def network():
    return nnx.eval_shape(lambda: Network(rngs=nnx.Rngs(0)))


def loss(model, x):
    return jnp.mean(model(x) ** 2)


def names(analysis):
    return [row.name for row in analysis.by("layer")]


def test_layers_are_the_paths_that_tabulate_prints():
    found = cost.analyze(network(), IMAGES)
    assert names(found) == LAYERS
    table = nnx.tabulate(Network(rngs=nnx.Rngs(0)), jnp.ones((2, 6, 6, 3)), console_kwargs={"width": 300})
    assert all(name in table for name in LAYERS)
    by_name = {row.name: row for row in found.by("layer")}
    assert [by_name[name].kind for name in LAYERS[:3]] == ["ordinary", "dense", "normalization"]
    assert [by_name[name].parameters for name in LAYERS[:4]] == [3 * 3 * 3 * 8 + 8, 8 * 8 + 8, 16, 0]
    assert found.total.parameters == sum(row.parameters for row in found.by("layer")) == 224 + 2 * (72 + 16)
    assert found.total.parameter_bytes == 4 * found.total.parameters


def test_backward_equations_belong_to_their_layers():
    found = cost.analyze(nnx.grad(loss), network(), IMAGES)
    assert set(LAYERS) <= set(names(found))
    rows = {row.name: row for row in found.by("layer")}
    linear = 2 * 6 * 6 * 8 * 8
    assert (rows["blocks/1/linear"].macs, rows["blocks/1/linear"].backward.macs) == (3 * linear, 2 * linear)
    stem = 2 * 6 * 6 * 27 * 8
    # The gradient of the images is not needed.
    assert (rows["stem"].macs, rows["stem"].backward.macs) == (2 * stem, stem)
    assert found.backward_to_forward == (4 * linear + stem) / (2 * linear + stem)


def test_a_training_step_is_counted_with_its_optimizer():
    def step(model, optimizer, x):
        value, gradients = nnx.value_and_grad(loss)(model, x)
        optimizer.update(model, gradients)
        return value

    def make():
        model = Network(rngs=nnx.Rngs(0))
        return model, nnx.Optimizer(model, optax.adamw(1e-3), wrt=nnx.Param)

    with jax.numpy_dtype_promotion("standard"):
        found = cost.analyze(step, *nnx.eval_shape(make), IMAGES)
    assert not found.is_lower_bound
    assert found.total.parameters == 400
    assert found.total.macs == cost.analyze(nnx.grad(loss), network(), IMAGES).total.macs


def test_jitted_and_rematerialized_modules_keep_their_layers():
    model = Network(rngs=nnx.Rngs(0))
    jitted = nnx.jit(lambda model, x: model(x))
    jitted(model, jnp.ones((2, 6, 6, 3)))  # traced before, without scopes
    assert names(cost.analyze(jitted, model, IMAGES)) == LAYERS

    found = cost.analyze(nnx.grad(lambda model, x: jnp.sum(nnx.remat(lambda m, x: m(x) ** 2)(model, x))), model, IMAGES)
    rows = {row.name: row for row in found.by("layer")}
    assert set(LAYERS) <= set(rows)
    # Computed once in the forward pass, and once more for the gradients.
    assert rows["blocks/0/linear"].backward.macs in (2 * 4608, 3 * 4608)


def test_a_module_is_not_changed():
    model = Network(rngs=nnx.Rngs(0))
    before, call = set(vars(model.blocks[0])), Block.__call__
    cost.analyze(model, IMAGES)
    model.eval()
    cost.analyze(lambda x: model.blocks[0](x), shape(2, 8))
    with pytest.raises(ValueError, match="Network cannot be traced"):
        cost.analyze(model, shape(2, 6, 6, 5))
    assert set(vars(model.blocks[0])) == before
    assert Block.__call__ is call


def test_methods_and_closed_over_modules_keep_their_layers():
    model = Network(rngs=nnx.Rngs(0))
    model.eval()
    assert names(cost.analyze(lambda x: model(x), IMAGES)) == LAYERS
    assert cost.analyze(model.__call__, IMAGES).total.parameters == 400
    assert cost.analyze(model.__call__, IMAGES, parameter_argnums=0).total.parameters == 2 * 6 * 6 * 3


def test_stacked_layers_are_counted_once_per_iteration():
    class Stack(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.vmap(lambda rngs: nnx.Linear(8, 8, rngs=rngs), axis_size=5)(rngs.split(5))

        def __call__(self, x):
            return nnx.scan(lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.layers)

    found = cost.analyze(nnx.eval_shape(lambda: Stack(nnx.Rngs(0))), shape(4, 8))
    (row,) = [row for row in found.by("layer") if row.macs]
    assert (row.name, row.macs, row.parameters) == ("layers", 5 * 4 * 8 * 8, 5 * 72)


def test_scopes_name_the_layers_of_plain_functions():
    def fun(weights, x):
        with jax.named_scope("first"):
            x = jnp.sin(x @ weights["a"])
        with jax.named_scope("second"):
            x, _ = jax.lax.scan(lambda x, _: (x @ weights["b"], None), x, length=3)
        return jnp.sum(x)

    weights = {"a": shape(4, 8), "b": shape(8, 8)}
    for program in (fun, jax.jit(jax.value_and_grad(fun))):
        rows = {row.name: row for row in cost.analyze(program, weights, shape(2, 4), parameter_argnums=0).by("layer")}
        times = rows["first"].macs // (2 * 4 * 8)
        assert rows["second"].macs - rows["second"].backward.macs == 3 * 2 * 8 * 8
        assert (times, rows["second"].backward.macs) == ((1, 0) if program is fun else (2, 2 * 3 * 2 * 8 * 8))
        assert (rows["first"].parameters, rows["second"].parameters) == (32, 64)


def test_the_most_expensive_branch_is_counted_and_all_are_shown():
    def fun(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    found = cost.analyze(fun, shape(4, 4))
    assert found.total.macs == 2 * 64
    (conditional,) = found.conditionals
    assert sorted(branch.macs for branch in conditional.branches) == [64, 128]
    assert conditional.branches[conditional.counted].macs == 128
    assert not found.is_lower_bound


def test_a_branch_by_platform_is_that_of_the_given_platform():
    fun = functools.partial(jax.lax.platform_dependent, cpu=lambda x: x @ x, default=lambda x: x @ x @ x)
    assert cost.analyze(fun, shape(4, 4), platform="cpu").total.macs == 64
    assert cost.analyze(fun, shape(4, 4), platform="tpu").total.macs == 128


@pytest.mark.parametrize("place", ["", "layer/inner"])
def test_a_platform_without_a_branch_is_refused(place):
    def fun(x):
        with jax.named_scope(place):
            return jax.lax.platform_dependent(x, cuda=lambda x: x @ x, tpu=lambda x: x @ x @ x)

    assert [cost.analyze(fun, shape(4, 4), platform=name).total.macs for name in ("gpu", "cuda", "tpu")] == [
        64,
        64,
        128,
    ]
    where = f" in {place}" if place else ""
    with pytest.raises(ValueError, match=f"`jax.lax.platform_dependent`{where} has branches for cuda, tpu, and no "):
        cost.analyze(fun, shape(4, 4), platform="rocm")
    with pytest.raises(ValueError, match="got platform 'cpu': pass `platform`, or give it a `default`"):
        cost.analyze(jax.jit(lambda x: jax.lax.scan(lambda x, _: (fun(x), None), x, length=2)), shape(4, 4))


def test_a_while_loop_is_counted_as_often_as_the_caller_says():
    def fun(x):
        with jax.named_scope("loop"):
            return jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ x, x)

    unknown = cost.analyze(fun, shape(4, 4))
    assert (unknown.total.macs, unknown.unknown_trips, unknown.is_lower_bound) == (64, ("loop",), True)
    for trips in (7, {"loop": 7}):
        known = cost.analyze(fun, shape(4, 4), trip_counts=trips)
        assert (known.total.macs, known.is_lower_bound) == (7 * 64, False)
    with pytest.raises(ValueError, match=r"must name layers with `while` loops \('loop'\), got other"):
        cost.analyze(fun, shape(4, 4), trip_counts={"other": 7})


def test_custom_derivatives_are_followed():
    @jax.custom_vjp
    def square(x):
        return x @ x

    square.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T @ x,))
    assert cost.analyze(square, shape(4, 4)).total.macs == 64
    assert cost.analyze(jax.grad(lambda x: square(x).sum()), shape(4, 4)).total.macs >= 2 * 64
    assert cost.analyze(jax.nn.relu, shape(4, 4)).total.flops == 16


def test_a_fused_block_is_counted_as_its_steps():
    depthwise, pointwise, bias = jnp.ones((3, 3, 1, 3)), jnp.ones((1, 1, 3, 5)), jnp.ones(5)

    def block(x):
        return jds.separable_conv(x, depthwise, pointwise, pointwise_bias=bias, pointwise_activation=jax.nn.relu)

    found = cost.analyze(block, shape(1, 6, 6, 3))
    assert {row.name: row.macs for row in found.by("kind") if row.macs} == {"depthwise": 972, "pointwise": 540}
    assert not found.is_lower_bound
    assert found.total.parameters == 27 + 15 + 5


def test_devices_add_up():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("data")

    def local(x, w):
        return jax.lax.psum(x @ w, "data")

    fun = jax.shard_map(local, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=PartitionSpec())
    found = cost.analyze(fun, shape(8, 4), shape(4, 4))
    assert found.total.macs == 8 * 4 * 4
    assert (found.total.per_device.macs, found.total.per_device.flops) == (2 * 4 * 4, 2 * 2 * 4 * 4 + 2 * 4)
    words = "One device does 32 of the mult-adds and 72 of the FLOPs, and the peak memory is that of one device."
    assert words in found.notes()
    peak = cost.Peak("made up", {"float32": 1.0}, bytes=1e9, source="")
    # How much work the sum over devices is depends on the algorithm.
    assert cost.estimate(found, peak).total.seconds == 64
    assert [row.name for row in found.by("kind") if row.counts.flops] == ["dense", "communication"]
    assert not found.is_lower_bound


def test_a_pallas_kernel_has_its_declared_cost_or_none():
    def call(x, estimate):
        def kernel(x_ref, out_ref):
            out_ref[...] = x_ref[...] * 2

        return pallas.pallas_call(kernel, out_shape=shape(8, 8), cost_estimate=estimate, interpret=True, name="twice")(
            x
        )

    declared = pallas.CostEstimate(flops=64, transcendentals=0, bytes_accessed=512)
    found = cost.analyze(lambda x: call(x, declared), shape(8, 8))
    assert (found.total.flops, found.is_lower_bound) == (64, False)
    found = cost.analyze(lambda x: call(x, None), shape(8, 8))
    assert (found.total.unknown, found.is_lower_bound) == ({"pallas_call:twice": 1}, True)


def test_operations_without_a_rule_are_named():
    found = cost.analyze(lambda x: jnp.linalg.eigh(x @ x), shape(4, 4))
    assert found.is_lower_bound
    assert found.total.unknown == {"eigh": 1}
    assert found.total.macs == 64
    assert [row.name for row in found.by("operation") if row.is_lower_bound] == ["eigh"]


def test_unused_results_are_not_counted():
    assert cost.analyze(lambda x: (x @ x, x)[1], shape(4, 4)).total.macs == 0


def test_products_of_two_activations_are_distinguished_from_dense_layers():
    model = nnx.eval_shape(lambda: nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0)))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found = cost.analyze(model, shape(3, 5, 8))
    macs = {row.name: row.macs for row in found.by("kind") if row.macs}
    assert macs == {"dense": 4 * 3 * 5 * 8 * 8, "batched": 2 * 3 * 5 * 5 * 8}


def test_nothing_is_allocated_for_fifty_million_parameters():
    class Wide(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(1000, 1000, rngs=rngs) for _ in range(50)])

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    found = cost.analyze(nnx.eval_shape(lambda: Wide(nnx.Rngs(0))), shape(100_000, 1000))
    assert found.total.parameters == 50 * 1001 * 1000


def test_static_and_keyword_arguments_are_passed_on():
    def fun(x, name, *, scale):
        return x * scale if name == "double" else x

    assert cost.analyze(fun, np.ones(3, np.float32), "double", scale=shape()).total.flops == 3


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: cost.analyze(jnp.dot, shape(2, 3), shape(2, 3)), TypeError, r"dot cannot be traced .*float32\[2,3\]"),
        (lambda: cost.analyze(lambda x: float(x), shape()), TypeError, "cannot be traced"),
        (
            lambda: cost.analyze(jnp.sin, shape(2), parameter_argnums=1),
            ValueError,
            "`parameter_argnums` must index the 1 arg",
        ),
        (
            lambda: cost.analyze(jnp.sin, shape(2)).by("color"),
            ValueError,
            '"layer", "fused", "kind", "operation" or "equation"',
        ),
        (lambda: cost.analyze(jnp.sin), TypeError, "cannot be traced"),
    ],
)
def test_bad_input_is_refused(call, error, match, unchecked_types):
    with pytest.raises(error, match=match):
        call()


def test_nested_conditionals_are_followed_once_per_branch(monkeypatch):
    def nested(x, depth):
        if depth == 0:
            return jnp.sin(x)
        return jax.lax.cond(x[0] > 0, lambda x: nested(x, depth - 1), lambda x: x, x)

    followed = []
    original = _following._add_operation
    monkeypatch.setattr(_following, "_add_operation", lambda *args: followed.append(1) or original(*args))
    found = cost.analyze(lambda x: nested(x, 8), jax.ShapeDtypeStruct((4,), jnp.float32))
    assert found.total.counts.transcendentals == 4
    assert len(found.conditionals) == 8
    assert len(followed) < 8 * 10


def test_a_closed_over_module_that_changes_is_refused():
    norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="or pass it as an argument; the arguments are"):
        cost.analyze(lambda x: norm(x), jax.ShapeDtypeStruct((2, 4), jnp.float32))


def test_each_equation_has_a_row():
    def fun(x, w):
        with jax.named_scope("layer"):
            return jnp.tanh(x @ w) + x @ w

    rows = cost.analyze(fun, shape(4, 8), shape(8, 8)).by("equation")
    assert [row.name for row in rows] == ["0 layer/dot_general", "1 layer/tanh", "2 layer/dot_general", "3 layer/add"]
    assert [row.macs for row in rows] == [256, 0, 256, 0]
    assert rows[1].traffic == 2 * 4 * 4 * 8


def layered(x, w):
    with jax.named_scope("<layer>"):
        return jnp.tanh(x @ w)


def test_an_analysis_prints_as_text_and_html(monkeypatch):
    found = cost.analyze(layered, shape(4, 8), shape(8, 8), parameter_argnums=1)
    text = str(found)
    assert text == repr(found)
    assert text.splitlines()[0].split()[:4] == ["layer", "kind", "output", "mult-adds"]
    assert text.splitlines()[2].split()[:4] == ["<layer>", "dense", "4×8", "256"]
    html = found._repr_html_()
    assert html.startswith("<table>")
    assert "&lt;layer&gt;" in html
    assert "<layer>" not in html
    estimate = cost.estimate(found, "a100")
    page = found.to_html(estimate=estimate)
    assert "<layer>" not in page
    assert "&lt;layer&gt;" in page
    assert "<title>layered</title>" in page
    assert found.to_dict(estimate)["estimate"]["total"]["seconds"] == estimate.total.seconds


def test_rows_become_a_data_frame(monkeypatch):
    pandas = pytest.importorskip("pandas")
    found = cost.analyze(layered, shape(4, 8), shape(8, 8))
    frame = found.to_dataframe("operation", cost.estimate(found, "a100", "operation"))
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc["dot_general", "macs"] == 256
    assert list(frame.index) == ["dot_general", "tanh"]
    assert frame["least_seconds"].min() > 0
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_dataframe requires pandas: `pip install pandas`"):
        found.to_dataframe()


def test_other_results_print_as_text_too():
    program = layered, shape(4, 8), shape(8, 8)
    steps, view = cost.reconcile(*program), cost.xla(*program)
    assert str(steps).startswith("from theory to XLA")
    assert steps.to_dict()["theory"] == 512
    assert str(view).startswith("FLOPs: 512 lowered, ")
    assert view.to_dict()["lowered"]["flops"] == 512
    measured = cost.measure_program(*program, seconds=0.0)
    assert "\ntotal " in str(measured)
    assert set(measured.to_dict()["layers"]) == set(measured.layers)
