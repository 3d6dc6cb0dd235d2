"""The report agrees with what lowering does."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from rich.console import Console

import jds
from jds.ops import _layers

IMAGES = jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32)
KERNEL = jax.ShapeDtypeStruct((3, 3, 1, 4), jnp.float32)


def report(fun, *args, **kwargs):
    return jds.acceleration_report(fun, *args, platform="cpu", **kwargs)


def depthwise(x, k):
    return lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4
    )


GATE = (None, jax.nn.hard_sigmoid, None)


def ordinary(x, groups=1):
    kernel, numbers = jnp.ones((3, 3, 4 // groups, 4)), ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups)


class Network(nnx.Module):
    """A network whose state changes on each call."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(4, 4, (3, 3), feature_group_count=2, rngs=rngs)
        self.layers = nnx.List([nnx.Conv(4, 4, (3, 3), feature_group_count=4, rngs=rngs) for _ in range(3)])
        self.mix = nnx.Conv(4, 8, (1, 1), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.mix(self.dropout(self.norm(x)))


def counts(found):
    return {(row.form, row.choice.implementation != "xla"): row.calls for row in found.layers}


FORWARD = {("grouped", False): 1, ("depthwise", True): 3, ("pointwise", True): 1}


def test_modules_are_reported_in_every_form_and_keep_their_state():
    model = Network(nnx.Rngs(0))
    before = jax.tree.leaves(nnx.state(model))
    abstract = nnx.eval_shape(lambda: Network(nnx.Rngs(0)))
    for found in (
        report(model, IMAGES),
        report(jds.accelerate(model), jnp.ones(IMAGES.shape)),
        report(model.__call__, IMAGES),
        report(jds.accelerate(model.__call__), IMAGES),
        report(abstract, IMAGES),
        report(nnx.jit(lambda network, x: network(x)), model, IMAGES),
        report(lambda *, networks: [networks["one"](networks["x"])], networks={"one": model, "x": IMAGES}),
    ):
        assert counts(found) == FORWARD
    # Nothing was computed, and no tracer is left behind.
    assert all(a is b for a, b in zip(before, jax.tree.leaves(nnx.state(model)), strict=True))


def test_a_training_step_agrees_with_its_program():
    model = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, images):
        value, gradients = nnx.value_and_grad(lambda model: jnp.sum(model(images) ** 2))(model)
        optimizer.update(model, gradients)
        return value

    found = report(step, model, optimizer, IMAGES)
    assert {row.form for row in found.replaced} >= {
        "depthwise",
        "depthwise kernel gradient",
        "pointwise kernel gradient",
    }
    assert {row.choice.reason for row in found.left} == {"grouped convolutions are left to XLA"}
    text = jds.accelerate(step).lower(model, optimizer, jnp.ones(IMAGES.shape)).as_text()
    assert text.count("stablehlo.convolution") == sum(row.calls for row in found.left) == 1
    # Three forward passes, their input gradients and their kernel gradients.
    assert sum(row.calls for row in found.replaced if row.form.startswith("depthwise")) == 9


def test_loops_and_calls_are_counted():
    def fun(x, k):
        x = lax.scan(lambda c, _: (lax.scan(lambda c, _: (depthwise(c, k), None), c, length=2)[0], None), x, length=5)[
            0
        ]
        x = jax.checkpoint(jax.jit(lambda x: depthwise(x, k)))(x)
        x = lax.cond(x.sum() > 0, lambda: depthwise(x, k), lambda: ordinary(x))
        x = lax.while_loop(lambda c: c.sum() > 0, lambda c: depthwise(c, k), x)
        wrapped = jax.custom_vjp(depthwise)
        wrapped.defvjp(lambda x, k: (depthwise(x, k), None), lambda _, g: (g, g))
        return jax.vmap(wrapped, (0, None))(x[None], k)

    found = report(fun, IMAGES, KERNEL)
    rows = [(row.form, row.calls, len(row.places), row.in_while_loop) for row in found.layers]
    assert rows == [("depthwise", 13, 4, False), ("ordinary", 1, 1, False), ("depthwise", 1, 1, True)]
    assert "1× per iteration  depthwise" in str(found)
    assert "13×  depthwise" in str(found)


def test_the_report_says_what_is_left_and_why():
    def fun(x, k):
        with set_xla_metadata(jds=None):
            x = depthwise(x, k)
        return jds.depthwise_conv(x, k, implementation="xla"), jds.depthwise_conv(x, k, implementation="shifted")

    reasons = [(row.choice.implementation, row.choice.reason) for row in report(fun, IMAGES, KERNEL).layers]
    assert reasons == [
        ("xla", "not under `accelerate`"),
        ("xla", "named by `implementation`"),
        ("shifted", "named by `implementation`"),
    ]
    for platform, expected in (("gpu", "on 'cuda'"), ("tpu", "on 'tpu'")):
        found = jds.acceleration_report(depthwise, IMAGES, KERNEL, platform=platform)
        assert not found.replaced
        assert expected in found.left[0].choice.reason


def test_blocks_are_reported_as_they_are_lowered():
    bias, point = jnp.ones(4), jax.ShapeDtypeStruct((1, 1, 4, 6), jnp.float32)

    def block(x, k, p, **options):
        options["depthwise_activation"] = jax.nn.relu6
        return jds.separable_conv(x, k, p, depthwise_bias=bias, pointwise_scale=jnp.ones(6), **options)

    def targets(fun, *args):
        text = jax.jit(fun).lower(*args).as_text()
        return {name for name in ("separable", "ordinary", "depthwise", "matrix_product") if f"@jds_{name}" in text}

    (row,) = report(block, IMAGES, KERNEL, point).layers
    assert row.form == "fused depthwise + bias + relu6 → pointwise + scale"
    assert (row.choice.implementation, targets(block, IMAGES, KERNEL, point)) == ("native", {"separable"})
    assert "2×8×8×4, 3×3×1×4, 1×1×4×6" in str(report(block, IMAGES, KERNEL, point))

    # A block that the kernel does not support runs step by step, each with its own implementation.
    halves = [jax.ShapeDtypeStruct(array.shape, jnp.bfloat16) for array in (IMAGES, KERNEL, point)]
    widened = functools.partial(block, preferred_element_type=jnp.float32)
    rows = report(widened, *halves).layers
    assert [(row.form, row.choice.implementation) for row in rows] == [("depthwise", "native"), ("pointwise", "native")]
    reason = "(epilogue not fused: the kernel's results always have the dtype of its inputs)"
    assert all(row.choice.reason.endswith(reason) for row in rows)
    assert targets(widened, *halves) == {"depthwise", "matrix_product"}
    # The place of a step is the caller's line, even if the block was traced before.
    assert all("test_acceleration_report.py" in row.places[0] for row in rows)

    (row,) = report(lambda x: jds.conv(x, jnp.ones((3, 3, 4, 4)), bias=bias, activation=jax.nn.relu), IMAGES).replaced
    assert row.form == "fused ordinary + bias + relu"
    for row in jds.acceleration_report(block, IMAGES, KERNEL, point, platform="tpu").layers:
        assert row.choice.reason.startswith("on 'tpu', XLA's own")
        assert row.choice.reason.endswith("(epilogue not fused: fused kernels run on CPUs only, not on 'tpu')")


@pytest.mark.parametrize(
    ("kernel", "groups", "extras", "fused"),
    [
        ((3, 3, 4, 4), 1, {"bias": (4,), "activation": jax.nn.relu}, "ordinary"),
        ((3, 3, 4, 4), 1, {"scale": (4,)}, "ordinary"),
        ((3, 3, 4, 4), 1, {}, None),
        ((1, 1, 1100, 4), 1, {"bias": (4,), "activation": jax.nn.silu}, "pointwise"),
        ((3, 3, 1, 4), 4, {"bias": (4,), "activation": jax.nn.relu}, "depthwise"),
        ((3, 3, 2, 4), 4, {"bias": (4,)}, "depthwise"),  # each group has one output feature
        ((3, 3, 300, 2), 2, {"bias": (2,)}, None),  # more features of a group than the kernel contracts
        ((3, 3, 2, 4), 2, {"bias": (4,)}, None),  # grouped
        ((9, 9, 40, 4), 1, {"bias": (4,)}, None),  # windows too long for the cache
    ],
)
def test_selection_knows_the_epilogue(kernel, groups, extras, fused):
    shapes = {name: jax.ShapeDtypeStruct(v, jnp.float32) for name, v in extras.items() if isinstance(v, tuple)}
    options = {"feature_group_count": groups, "activation": extras.get("activation")}
    images = jax.ShapeDtypeStruct((2, 8, 8, kernel[2] * groups), jnp.float32)
    rest = (jax.ShapeDtypeStruct(kernel, jnp.float32), shapes)
    found = jds.select_implementation(images, rest[0], **shapes, **options, platform="cpu").forward
    text = jax.jit(lambda x, k, e: jds.conv(x, k, **e, **options)).lower(images, *rest).as_text()
    assert found.reason.startswith("fused") == (fused is not None)
    assert (found.implementation == "xla") == ("stablehlo.convolution" in text)
    if fused:
        target = "depthwise" if fused == "depthwise" else "ordinary"
        assert text.count("stablehlo.custom_call") == text.count(f"@jds_{target}(") == 1
    # The report on the same call agrees.
    (row,) = report(lambda x, k, e: jds.conv(x, k, **e, **options), images, *rest).layers
    assert row.choice == found
    assert row.form.startswith(f"fused {fused}") == (fused is not None)


@pytest.mark.parametrize("batch", [jax.export.symbolic_shape("b")[0], 2])
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_fused_layers_are_reported_as_they_are_lowered(batch, platform):
    def head(x, squeeze, excite, kernel, bias):
        x = jds.nn.global_mean(_layers.squeeze_excite(x, (squeeze, None, jax.nn.relu, None), (excite, *GATE)))
        return _layers.linear(x.reshape(x.shape[0], -1), kernel, bias)

    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((batch, 6, 6, 4), (4, 2), (2, 4), (4, 3), (3,))]
    found = jds.acceleration_report(head, *args, platform=platform)
    runs_kernels = platform == "cpu" and batch == 2
    assert [row.choice.implementation == "native" for row in found.layers] == 3 * [runs_kernels]
    assert [row.operands for row in found.layers] == [
        tuple(args[:3]),
        (args[0],),
        (jax.ShapeDtypeStruct((batch, 4), jnp.float32), *args[3:]),
    ]
    if batch == 2:
        assert [row.form for row in found.layers] == ["squeeze and excitation", "mean", "linear + bias"]
    if runs_kernels:
        assert jax.jit(head).lower(*args).as_text().count("stablehlo.custom_call @jds") == 3
    elif platform == "cpu":
        assert "@jds" not in jax.export.export(jax.jit(head))(*args).mlir_module()


def test_symbolic_shapes_are_reported_as_they_are_exported():
    images = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 8, 8, 4"), jnp.float32)
    found = report(depthwise, images, KERNEL)
    assert found.replaced[0].choice.implementation == "shifted"
    assert "b×8×8×4, 3×3×1×4 → b×8×8×4, float32" in str(found)
    images = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, h, 8, 4"), jnp.float32)
    found = report(depthwise, images, KERNEL)
    assert not found.replaced
    assert found.left[0].choice.reason == "symbolic shapes are left to XLA"
    assert "of symbolic shape  b×h×8×4, 3×3×1×4 → b×h×8×4, float32" in str(found)


def test_static_arguments_and_results_of_any_kind_are_accepted():
    @jax.jit
    def inner(x, k):
        return depthwise(x, k)

    def fun(x, k, repeats, *, activation, name=None):
        for _ in range(repeats):
            x = activation(inner(x, k))
        return {"x": x, "names": name if activation is jnp.sin else None}

    found = report(fun, IMAGES, KERNEL, 3, activation=jnp.sin, name="network")
    assert [row.calls for row in found.layers] == [3]
    jitted = jax.jit(fun, static_argnums=2, static_argnames=("activation",))
    assert [row.calls for row in report(jitted, IMAGES, KERNEL, 2, activation=jnp.tanh).layers] == [2]


def test_a_program_without_convolutions_has_nothing_to_replace():
    found = report(jnp.sin, IMAGES)
    assert found.layers == found.replaced == found.left == ()
    assert str(found) == "No convolutions or fused layers in this program for 'cpu'."


def test_the_text_has_one_row_per_form_and_place():
    def network(x, k):
        with jax.named_scope("block"):
            x = jax.jit(depthwise)(depthwise(x, k), k)
        return ordinary(x, groups=2).astype(jnp.bfloat16)

    text = str(report(network, IMAGES, KERNEL))
    first, _, replaced, row, _, xla, last = text.splitlines()
    assert first == "Convolutions and fused layers for 'cpu': 2 replaced, 1 left to XLA"
    chosen = jds.select_implementation(IMAGES, KERNEL, feature_group_count=4, platform="cpu").forward
    assert replaced == f"{chosen.implementation}: {chosen.reason}"
    assert row.startswith("2×  depthwise  2×8×8×4, 3×3×1×4 → 2×8×8×4, float32  block at test_acceleration_report.py:")
    assert row.endswith("(depthwise) and 1 more")
    assert xla == "xla: grouped convolutions are left to XLA"
    assert last.startswith("1×  grouped  2×8×8×4, 3×3×2×4 → 2×8×8×4, float32  test_acceleration_report.py:")
    narrow = Console(width=60)
    with narrow.capture() as capture:
        narrow.print(report(network, IMAGES, KERNEL))
    assert max(map(len, capture.get().splitlines())) <= 60


def test_wrong_arguments_are_errors(unchecked_types):
    with pytest.raises(ValueError, match=r"acceleration_report: `platform` must be one of 'cpu', .*, got 'CPU'"):
        jds.acceleration_report(depthwise, IMAGES, KERNEL, platform="CPU")
    with pytest.raises(TypeError, match="must be callable"):
        jds.acceleration_report((depthwise, depthwise), IMAGES)


def test_a_broken_mechanism_is_reported(monkeypatch):
    monkeypatch.setattr("jds.ops._lowering.mechanism_fault", lambda: "JAX 99 does not carry the mark")
    found = report(depthwise, IMAGES, KERNEL)
    assert [row.choice for row in found.left] == [("xla", "JAX 99 does not carry the mark")]
