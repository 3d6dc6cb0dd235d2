"""The mark: which program gets which implementation, without affecting any other program."""

import inspect
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax
from workloads import WORKLOADS

import jds

DEPTHWISE, STRIDED = WORKLOADS[:2]


def program(fun, *arguments):
    return jax.jit(fun).lower(*arguments).as_text()


def has_convolution(fun, *arguments):
    return "stablehlo.convolution" in program(fun, *arguments)


def plain(inputs, kernel):
    """A depthwise convolution written without jds."""
    return lax.conv_general_dilated(
        inputs, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=inputs.shape[-1]
    )


@pytest.fixture
def installed():
    jds.install()
    yield
    jds.uninstall()


def test_the_jaxpr_is_the_one_of_lax():
    inputs, kernel, _ = DEPTHWISE.arrays()
    equations = jax.make_jaxpr(jds.depthwise_conv)(inputs, kernel).eqns
    assert [str(e.primitive) for e in equations] == ["conv_general_dilated"]


def test_the_default_replaces_and_xla_does_not():
    inputs, kernel, _ = DEPTHWISE.arrays()
    assert not has_convolution(jds.depthwise_conv, inputs, kernel)
    assert not has_convolution(lambda x, k: jds.depthwise_conv(x, k, implementation="shifted"), inputs, kernel)
    assert has_convolution(lambda x, k: jds.depthwise_conv(x, k, implementation="xla"), inputs, kernel)
    assert has_convolution(plain, inputs, kernel)


def test_a_strided_input_gradient_dilates_nothing():
    inputs, kernel, cotangent = STRIDED.arrays()

    def gradient(implementation):
        return lambda x, k: jax.vjp(lambda x: STRIDED.call(x, k, implementation), x)[1](cotangent)

    assert "lhs_dilate = [2, 2]" in program(gradient("xla"), inputs, kernel)
    text = program(gradient(None), inputs, kernel)
    assert "lhs_dilate" not in text
    assert not re.search(r"interior = \[[^\]]*[1-9]", text)


@pytest.mark.parametrize(("implementation", "name"), [(None, "@jds_matrix"), ("shifted", "stablehlo.dot_general")])
def test_pointwise_becomes_a_matrix_product(implementation, name):
    inputs, kernel, _ = WORKLOADS[6].arrays()

    def everything(inputs, kernel):
        def loss(x, k):
            return jnp.sum(jds.pointwise_conv(x, k, implementation=implementation) ** 2)

        return jax.grad(loss, (0, 1))(inputs, kernel)

    text = program(everything, inputs, kernel)
    assert text.count(name) == 3
    assert "stablehlo.convolution" not in text


def test_accelerate_applies_to_functions_that_were_jitted_before():
    inputs, kernel, _ = DEPTHWISE.arrays()
    jitted = jax.jit(plain)
    want = jitted(inputs, kernel)
    accelerated = jds.accelerate(jitted)
    np.testing.assert_allclose(accelerated(inputs, kernel), want, rtol=1e-5, atol=1e-6)
    assert not has_convolution(accelerated, inputs, kernel)
    assert not has_convolution(jax.grad(lambda x, k: accelerated(x, k).sum(), (0, 1)), inputs, kernel)
    assert has_convolution(jitted, inputs, kernel)


def test_a_named_implementation_is_kept_under_accelerate(installed):
    inputs, kernel, _ = DEPTHWISE.arrays()
    named = jds.accelerate(lambda x, k: jds.depthwise_conv(x, k, implementation="xla"))
    assert has_convolution(named, inputs, kernel)


def test_install_applies_to_functions_that_were_compiled_before():
    inputs, kernel, _ = DEPTHWISE.arrays()
    jitted = jax.jit(plain)
    want = jitted(inputs, kernel)
    ahead = jitted.lower(inputs, kernel).compile()
    jds.install()
    try:
        assert not has_convolution(jitted, inputs, kernel)
        np.testing.assert_allclose(jitted(inputs, kernel), want, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(ahead(inputs, kernel), want)
    finally:
        jds.uninstall()
    assert has_convolution(jitted, inputs, kernel)
    np.testing.assert_array_equal(jitted(inputs, kernel), want)


def test_the_drop_in_replaces_channels_first_convolutions():
    inputs, kernel, _ = DEPTHWISE.arrays()
    images, filters = inputs.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)

    def nchw(convolution):
        def loss(x, k):
            return jnp.sum(convolution(x, k, (2, 1), "SAME", feature_group_count=4) ** 2)

        return jax.value_and_grad(loss, (0, 1))

    assert not has_convolution(nchw(jds.conv_general_dilated), images, filters)
    got, want = (nchw(f)(images, filters) for f in (jds.conv_general_dilated, lax.conv_general_dilated))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, want)


class PlainNetwork(nnx.Module):
    """Depthwise and 1×1 `nnx.Conv`s with batch norm, written without jds."""

    def __init__(self, rngs, dtype=jnp.float64):
        options = {"use_bias": False, "param_dtype": dtype, "rngs": rngs}
        self.layers = nnx.List(
            [
                nnx.Conv(6, 6, (3, 3), 2, feature_group_count=6, **options),
                nnx.BatchNorm(6, momentum=0.9, param_dtype=dtype, rngs=rngs),
                nnx.Conv(6, 8, (1, 1), **options),
                nnx.BatchNorm(8, momentum=0.9, param_dtype=dtype, rngs=rngs),
                nnx.Conv(8, 8, (3, 3), feature_group_count=8, **options),
            ]
        )

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return x


@pytest.mark.filterwarnings("ignore:scatter inputs have incompatible types:FutureWarning")  # flax's batch norm
@pytest.mark.parametrize("way", ["accelerate", "install"])
def test_a_training_step_with_batch_norm_keeps_its_values(way):
    # Batch norm keeps its statistics in float32.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):

        def losses(wrap):
            model = PlainNetwork(nnx.Rngs(0))
            optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
            images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 6)))

            def step(model, optimizer, images):
                def loss(model):
                    return jnp.mean(wrap(model)(images) ** 2)

                value, gradients = nnx.value_and_grad(loss)(model)
                optimizer.update(model, gradients)
                return value

            step = nnx.jit(step)
            text = step.lower(model, optimizer, images).as_text()
            values = [step(model, optimizer, images) for _ in range(2)]
            return jax.tree.leaves(nnx.state(model)), values, text

        want, want_losses, _ = losses(lambda model: model)
        if way == "accelerate":
            got, got_losses, text = losses(jds.accelerate)
        else:
            jds.install()
            try:
                got, got_losses, text = losses(lambda model: model)
            finally:
                jds.uninstall()
        assert "stablehlo.convolution" not in text
        np.testing.assert_allclose(got_losses, want_losses, rtol=1e-12)
        assert want_losses[0] != want_losses[1]
        for a, b in zip(got, want, strict=True):  # batch statistics included
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_drop_in_works_in_nnx_layers():
    inputs = jnp.ones((2, 8, 8, 4))

    def layer(convolution):
        return nnx.Conv(4, 4, (3, 3), feature_group_count=4, conv_general_dilated=convolution, rngs=nnx.Rngs(0))

    np.testing.assert_allclose(
        layer(jds.conv_general_dilated)(inputs), layer(lax.conv_general_dilated)(inputs), rtol=1e-5
    )
    assert not has_convolution(layer(jds.conv_general_dilated), inputs)
    assert inspect.signature(jds.conv_general_dilated) == inspect.signature(lax.conv_general_dilated)


IMPORT_SCRIPT = """
import sys, jax, jax.numpy as jnp
from jax import lax
if sys.argv[1] == "with":
    import jds
def loss(x, k):
    y = lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4)
    return jnp.sum(y * lax.conv_general_dilated(y, jnp.ones((1, 1, 4, 4)), (1, 1), "SAME",
                                                dimension_numbers=("NHWC", "HWIO", "NHWC")))
arguments = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 1, 4))
step = jax.jit(jax.grad(loss, (0, 1)))
print(step.lower(*arguments).as_text())
print(step.lower(*arguments).compile().as_text())
for platforms in (("cuda",), ("cpu", "cuda", "rocm", "tpu")):
    print(jax.export.export(step, platforms=platforms)(*arguments).mlir_module())
"""


def test_importing_jds_changes_no_program(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(IMPORT_SCRIPT)
    texts = [
        subprocess.run([sys.executable, script, way], capture_output=True, text=True, check=True).stdout
        for way in ("with", "without")
    ]
    assert texts[0].count("stablehlo.convolution") >= 10
    assert texts[0] == texts[1]


def shapes(inputs, kernel):
    return jax.ShapeDtypeStruct(inputs, jnp.float32), jax.ShapeDtypeStruct(kernel, jnp.float32)


def test_the_selection_names_what_runs():
    inputs, kernel, cotangent = DEPTHWISE.arrays()
    selection = jds.select_implementation(inputs, kernel, feature_group_count=4, platform="cpu")
    for choice, gradient in ((selection.input_gradient, 0), (selection.kernel_gradient, 1)):
        assert choice.implementation == "native"
        lowered = program(lambda *a, g=gradient: jax.vjp(jds.depthwise_conv, *a)[1](cotangent)[g], inputs, kernel)
        assert "stablehlo.convolution" not in lowered
    assert "depthwise: a CPU kernel" in selection.forward.reason
    assert "kernel gradient" in selection.kernel_gradient.reason


@pytest.mark.parametrize(
    ("inputs", "kernel", "options", "implementation", "reason"),
    [
        ((1, 8, 8, 4), (3, 3, 1, 4), {"feature_group_count": 4, "platform": "gpu"}, "xla", "on 'cuda'"),
        ((1, 8, 8, 4), (3, 3, 1, 4), {"feature_group_count": 4, "platform": "tpu"}, "xla", "on 'tpu'"),
        (
            (1, 8, 8, 4),
            (3, 3, 1, 4),
            {"feature_group_count": 4, "platform": "tpu", "implementation": "shifted"},
            "shifted",
            "named by",
        ),
        ((1, 8, 8, 4), (3, 3, 4, 4), {"platform": "cpu"}, "native", "ordinary: a CPU kernel is faster"),
        ((1, 8, 8, 200), (3, 3, 200, 40), {"platform": "cpu"}, "xla", "at most 1024 elements, not 1800"),
        (
            (1, 8, 8, 4),
            (3, 3, 2, 4),
            {"feature_group_count": 2, "platform": "cpu"},
            "xla",
            "grouped convolutions are left",
        ),
        ((1, 8, 8, 4), (1, 1, 4, 6), {"platform": "cpu"}, "native", "pointwise: a CPU kernel"),
        ((1, 8, 8, 4), (1, 1, 4, 6), {"platform": "cpu", "strides": 2}, "shifted", "a matrix product"),
        (
            (1, 8, 8, 4),
            (3, 3, 1, 8),
            {"feature_group_count": 4, "platform": "cpu"},
            "native",
            "depthwise: a CPU kernel",
        ),
        ((1, 40, 40, 4), (33, 33, 1, 4), {"feature_group_count": 4, "platform": "cpu"}, "xla", "at most 256 terms"),
        ((1, 500, 1), (99, 1, 1), {"platform": "cpu"}, "native", "a CPU kernel"),
        ((1, 500, 1), (64, 1, 16), {"platform": "cpu"}, "xla", "64 terms along one axis is as fast"),
        ((1, 500, 1), (64, 1, 4), {"platform": "cpu"}, "native", "a CPU kernel"),
        ((1, 40, 40, 1), (7, 7, 1, 16), {"platform": "cpu"}, "native", "a CPU kernel"),
    ],
)
def test_the_selection_has_its_reason(inputs, kernel, options, implementation, reason):
    choice = jds.select_implementation(*shapes(inputs, kernel), **options).forward
    assert choice.implementation == implementation
    assert reason in choice.reason


def test_kernel_gradients_of_small_groups_are_replaced():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        inputs, kernel = jnp.asarray(rng.standard_normal((2, 6, 5, 6))), jnp.asarray(rng.standard_normal((3, 3, 2, 9)))

        def gradient(implementation):
            def loss(k):
                return jnp.sum(jds.conv(inputs, k, feature_group_count=3, implementation=implementation) ** 3)

            return jax.grad(loss)

        for name in (None, "shifted"):
            np.testing.assert_allclose(gradient(name)(kernel), gradient("xla")(kernel), rtol=1e-10)
        # One convolution is left: the forward pass.
        assert program(gradient(None), kernel).count("stablehlo.convolution") == 1
        assert "stablehlo.convolution" not in program(gradient("shifted"), kernel)


def test_a_broken_mechanism_is_reported(monkeypatch, caplog):
    from jds.ops import _lowering

    _lowering._warn.cache_clear()
    monkeypatch.setattr(_lowering, "mechanism_fault", lambda: "JAX 99 does not carry the mark")
    inputs, kernel, _ = DEPTHWISE.arrays()
    jds.depthwise_conv(inputs, kernel)
    jds.depthwise_conv(inputs, kernel)
    assert [r.message for r in caplog.records] == [
        "jds cannot accelerate convolutions on this JAX version: JAX 99 does not carry the mark"
    ]
    choice = jds.select_implementation(inputs, kernel, feature_group_count=4).forward
    assert choice == ("xla", "JAX 99 does not carry the mark")
    _lowering._warn.cache_clear()


def test_the_probe_survives_tracing_with_other_functions_in_jax_numpy(monkeypatch):
    from jds.ops import _lowering

    def fail(*args, **kwargs):
        raise NotImplementedError("MLIR translation rule for primitive 'jax.numpy.zeros' not found")

    _lowering.mechanism_fault.cache_clear()
    for name in ("zeros", "pad", "stack", "asarray", "issubdtype"):
        monkeypatch.setattr(jnp, name, fail)
    assert _lowering.mechanism_fault() is None
    monkeypatch.setattr(lax, "conv_general_dilated", fail)
    _lowering.mechanism_fault.cache_clear()
    _lowering.check_mechanism()  # cannot tell; asks again later
    monkeypatch.undo()
    assert _lowering.mechanism_fault() is None


@pytest.mark.parametrize("numbers", [tuple, list, np.array], ids=["tuple", "list", "numpy"])
def test_the_drop_in_accepts_any_integers(numbers):
    inputs, kernel, _ = DEPTHWISE.arrays()

    def run(convolution):
        def loss(x, k):
            out = convolution(
                x,
                k,
                numbers([2, 1]),
                numbers([[1, 2], [0, 3]]),
                lhs_dilation=numbers([1, 2]),
                rhs_dilation=numbers([1, 2]),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=np.int64(4) if numbers is np.array else 4,
            )
            return jnp.sum(out**2)

        return jax.value_and_grad(loss, (0, 1))(inputs, kernel)

    got, want = run(jds.conv_general_dilated), run(lax.conv_general_dilated)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, want)


def test_float64_arrays_can_be_used_outside_of_enable_x64():
    with jax.enable_x64(True):
        inputs, kernel, _ = DEPTHWISE.arrays(jnp.float64)
    got, want = (jds.depthwise_conv(inputs, kernel, implementation=i) for i in (None, "xla"))
    assert got.dtype == want.dtype == jnp.float64
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_gradients_are_the_same_without_jit():
    inputs, kernel, cotangent = DEPTHWISE.arrays()
    with jax.disable_jit():
        got = jax.vjp(jds.depthwise_conv, inputs, kernel)[1](cotangent)
    want = jax.vjp(jds.depthwise_conv, inputs, kernel)[1](cotangent)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)
