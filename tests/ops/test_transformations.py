"""Every transformation of every workload matches that of lax's own convolution, and stays accelerated."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from workloads import WORKLOADS, Workload

import jds
from jds.ops import _lowering

SMALL = WORKLOADS[:4]


def check(transformed, *arguments, accelerated=True):
    """Runs `transformed(implementation)` for jds's default and for lax's own, and compares; reads the default's HLO."""
    lowered = jax.jit(transformed(None)).lower(*arguments)
    compiled = lowered.compile()
    if accelerated:
        assert "stablehlo.convolution" not in lowered.as_text()
        assert "convolution(" not in compiled.as_text()
    assert_equal(compiled(*arguments), jax.jit(transformed("xla"))(*arguments))


def assert_equal(got, want, tolerance=1e-10):
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)
    chex.assert_trees_all_close(got, want, rtol=tolerance, atol=tolerance)


def scalar(workload: Workload, implementation, cotangent):
    """A function of inputs and kernel whose second derivatives do not vanish."""

    def loss(inputs, kernel):
        out = workload.call(inputs, kernel, implementation)
        return jnp.sum(jnp.sin(out) * cotangent)

    return loss


SECOND_ORDER = {
    "reverse over reverse": lambda f: jax.grad(
        lambda *a: sum(jnp.sum(jnp.cos(g)) for g in jax.grad(f, (0, 1))(*a)), (0, 1)
    ),
    "forward over reverse": lambda f: lambda *a: jax.jvp(jax.grad(f, (0, 1)), a, tuple(jnp.cos(v) for v in a))[1],
    "reverse over forward": lambda f: jax.grad(lambda *a: jax.jvp(f, a, tuple(jnp.cos(v) for v in a))[1], (0, 1)),
    "forward over forward": lambda f: (
        lambda *a: jax.jvp(lambda *b: jax.jvp(f, b, tuple(jnp.cos(v) for v in b))[1], a, tuple(jnp.sin(v) for v in a))[
            1
        ]
    ),
}


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_second_derivatives_match_in_every_combination(workload, quick_compilation):
    with jax.enable_x64(True):
        inputs, kernel, cotangent = workload.arrays(jnp.float64)

        def all_orders(implementation):
            function = scalar(workload, implementation, cotangent)
            return lambda *a: {name: transform(function)(*a) for name, transform in SECOND_ORDER.items()}

        check(all_orders, inputs, kernel)


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_first_derivatives_match_forward_and_reverse(workload, quick_compilation):
    with jax.enable_x64(True):
        inputs, kernel, cotangent = workload.arrays(jnp.float64)
        tangents = jnp.cos(inputs), jnp.sin(kernel)

        def both(implementation):
            call = functools.partial(workload.call, implementation=implementation)
            return lambda x, k: (jax.jvp(call, (x, k), tangents), jax.vjp(call, x, k)[1](cotangent))

        check(both, inputs, kernel)


BATCHED = {"inputs": (0, None), "kernel": (None, 0), "both": (0, 0)}


@pytest.mark.parametrize("batched", BATCHED)
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_vmap_of_values_and_of_gradients_matches(workload, batched, quick_compilation):
    with jax.enable_x64(True):
        inputs, kernel, cotangent = workload.arrays(jnp.float64)
        axes = BATCHED[batched]
        arguments = [
            value if axis is None else jnp.stack([value, 2 * value, value - 1])
            for value, axis in zip((inputs, kernel), axes, strict=True)
        ]

        def inside(implementation):
            return jax.vmap(jax.value_and_grad(scalar(workload, implementation, cotangent), (0, 1)), axes)

        def outside(implementation):
            each = jax.vmap(scalar(workload, implementation, cotangent), axes)
            return jax.grad(lambda *a: jnp.sum(each(*a) ** 2), (0, 1))

        check(lambda i: lambda *a: {"inside": inside(i)(*a), "outside": outside(i)(*a)}, *arguments)


CONTROL_FLOW = {
    "scan": lambda f: lambda x, k: jax.lax.scan(lambda c, _: (jnp.tanh(f(c, k)), c.sum()), x, length=3),
    "while": lambda f: lambda x, k: jax.lax.fori_loop(0, jnp.int32(3), lambda _, c: jnp.tanh(f(c, k)), x),
    "cond": lambda f: lambda x, k: jax.lax.cond(x.sum() > 0, f, lambda x, k: f(2 * x, k), x, k),
    "remat": lambda f: jax.grad(
        lambda x, k: jax.checkpoint(lambda x: jnp.sin(f(jnp.sin(f(x, k)), k)))(x).sum(), (0, 1)
    ),
    "grad of scan": lambda f: jax.grad(
        lambda x, k: jax.lax.scan(lambda c, _: (jnp.tanh(f(c, k)), None), x, length=3)[0].sum(), (0, 1)
    ),
    "custom_vjp": lambda f: jax.grad(lambda x, k: _with_custom_vjp(f)(x, k).sum(), (0, 1)),
}


def _with_custom_vjp(f):
    wrapped = jax.custom_vjp(f)
    wrapped.defvjp(lambda x, k: jax.vjp(f, x, k), lambda vjp, g: vjp(2 * g))
    return wrapped


@pytest.mark.parametrize("flow", CONTROL_FLOW)
def test_control_flow_matches(flow, quick_compilation):
    with jax.enable_x64(True):
        inputs, kernel, _ = WORKLOADS[0].arrays(jnp.float64)
        transform = CONTROL_FLOW[flow]
        check(lambda i: transform(functools.partial(WORKLOADS[0].call, implementation=i)), inputs, kernel)


@pytest.mark.parametrize("implementation", [None, "shifted", "xla"])
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_the_backward_pass_keeps_input_and_kernel_once(workload, implementation):
    inputs, kernel, _ = workload.arrays()
    residuals = jax.tree.leaves(
        jax.vjp(functools.partial(workload.call, implementation=implementation), inputs, kernel)[1]
    )
    assert sorted(r.size for r in residuals) == sorted([inputs.size, kernel.size])


def test_repeated_calls_do_not_retrace():
    traces = []

    @jax.jit
    def loss(inputs, kernel):
        traces.append(None)
        return jds.depthwise_conv(inputs, kernel).sum()

    inputs, kernel, _ = WORKLOADS[0].arrays()
    for step in range(3):
        loss(inputs + step, kernel)
        jax.grad(loss)(inputs, kernel)
    assert len(traces) == 1


class TestVariants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_shapes_and_dtypes(self):
        for workload in WORKLOADS:
            for dtype in (jnp.float32, jnp.bfloat16):
                inputs, kernel, cotangent = workload.arrays(dtype)
                out = self.variant(workload.call)(inputs, kernel)
                chex.assert_equal_shape([out, cotangent])
                chex.assert_type(out, dtype)


def mesh(axis_type=AxisType.Auto):
    return jax.make_mesh((4,), ("batch",), axis_types=(axis_type,))


def step(workload, implementation=None):
    """Value and both gradients, as in a training step."""

    def run(inputs, kernel):
        def loss(x, k):
            return jnp.sum(workload.call(x, k, implementation) ** 2)

        return workload.call(inputs, kernel, implementation), jax.grad(loss, (0, 1))(inputs, kernel)

    return run


# Includes a workload that loops over rows and a strided one; the batch is split across the devices.
SHARDED = tuple(w._replace(inputs=(4, 12, *w.inputs[2:])) for w in (WORKLOADS[0], WORKLOADS[1], WORKLOADS[6]))


@pytest.mark.parametrize("workload", SHARDED, ids=str)
def test_a_sharded_batch_stays_sharded(workload):
    inputs, kernel, _ = workload.arrays()
    by_batch = NamedSharding(mesh(), P("batch"))
    whole = NamedSharding(mesh(), P())
    placed = jax.device_put(inputs, by_batch), jax.device_put(kernel, whole)
    program = jax.jit(step(workload), out_shardings=(by_batch, (by_batch, whole))).lower(*placed).compile()
    text = program.as_text()
    assert "all-gather" not in text
    assert "all-to-all" not in text
    assert text.count("all-reduce(") + text.count("all-reduce-start(") == 1
    assert "convolution(" not in text
    assert_equal(program(*placed), jax.jit(step(workload, "xla"))(inputs, kernel), 1e-4)


@pytest.mark.parametrize("workload", SHARDED, ids=str)
def test_shard_map_stays_accelerated_without_gathering(workload):
    inputs, kernel, cotangent = workload.arrays()

    def value_and_gradients(inputs, kernel, cotangent):
        out, vjp = jax.vjp(workload.call, inputs, kernel)
        return out, *vjp(cotangent)

    sharded = jax.shard_map(
        value_and_gradients,
        mesh=mesh(),
        in_specs=(P("batch"), P(), P("batch")),
        out_specs=(P("batch"), P("batch"), P()),
    )
    program = jax.jit(sharded).lower(inputs, kernel, cotangent).compile()
    assert "all-gather" not in program.as_text()
    assert "convolution(" not in program.as_text()
    assert_equal(program(inputs, kernel, cotangent), jax.jit(value_and_gradients)(inputs, kernel, cotangent), 1e-4)


def test_explicit_sharding_is_kept():
    workload = SHARDED[0]
    inputs, kernel, _ = workload.arrays()
    want = jax.jit(step(workload, "xla"))(inputs, kernel)
    with jax.set_mesh(mesh(AxisType.Explicit)):
        placed = jax.device_put(inputs, P("batch")), jax.device_put(kernel, P())
        program = jax.jit(step(workload)).lower(*placed).compile()
        out, (d_inputs, d_kernel) = program(*placed)
    assert "all-gather" not in program.as_text()
    assert "convolution(" not in program.as_text()
    assert out.sharding.spec[0] == d_inputs.sharding.spec[0] == "batch"
    assert_equal(jax.device_get((out, (d_inputs, d_kernel))), jax.device_get(want), 1e-4)


def test_large_sharded_batches_are_not_looped_over():
    inputs = jax.ShapeDtypeStruct((16, 64, 64, 64), jnp.float32, sharding=NamedSharding(mesh(), P("batch")))
    kernel = jax.ShapeDtypeStruct((3, 3, 1, 64), jnp.float32, sharding=NamedSharding(mesh(), P()))
    call = functools.partial(jds.depthwise_conv, implementation="shifted")
    program = jax.jit(call).lower(inputs, kernel).compile()
    assert "all-gather" not in program.as_text()
    assert "while(" not in program.as_text()


@pytest.mark.parametrize("workload", SMALL, ids=str)
def test_export_gives_each_platform_its_own(workload):
    inputs, kernel, _ = workload.arrays()
    for platforms in (("cpu",), ("cuda",), ("tpu",), ("cpu", "cuda", "tpu")):
        exported = jax.export.export(jax.jit(workload.call), platforms=platforms)(inputs, kernel)
        text = exported.mlir_module()
        assert ("stablehlo.convolution" in text) == (platforms != ("cpu",))
        assert ("stablehlo.multiply" in text) == ("cpu" in platforms)
        if "cpu" in platforms:
            again = jax.export.deserialize(exported.serialize())
            # Optimized, so that products and sums are fused as in the kernels: the values agree to the last bits.
            call = jax.jit(again.call, compiler_options={"xla_backend_optimization_level": 3})
            np.testing.assert_allclose(call(inputs, kernel), workload.call(inputs, kernel), rtol=1e-6)


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_a_symbolic_batch_is_replaced_and_right_at_every_size(workload, unchecked_types):
    _, kernel, _ = workload.arrays()
    shape = jax.export.symbolic_shape(f"b, {', '.join(map(str, workload.inputs[1:]))}")
    call = jax.jit(lambda x, k: workload.call(x, k, "shifted"))
    exported = jax.export.export(call)(jax.ShapeDtypeStruct(shape, jnp.float32), kernel)
    assert "stablehlo.convolution" not in exported.mlir_module()
    for batch in (1, 2, 5):
        inputs, *_ = workload._replace(inputs=(batch, *workload.inputs[1:])).arrays()
        np.testing.assert_allclose(exported.call(inputs, kernel), workload.call(inputs, kernel), rtol=1e-5, atol=1e-5)


def test_symbolic_images_are_left_to_xla(unchecked_types):
    inputs = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 2*h, 2*h, 4"), jnp.float32)
    kernel = jax.ShapeDtypeStruct(WORKLOADS[0].kernel, jnp.float32)
    exported = jax.export.export(jax.jit(jds.depthwise_conv))(inputs, kernel)
    assert "convolution" in exported.mlir_module()
    with pytest.raises(NotImplementedError, match="`shifted` supports no symbolic sizes but the batch"):
        jax.eval_shape(functools.partial(jds.depthwise_conv, implementation="shifted"), inputs, kernel)
    inputs, kernel, _ = WORKLOADS[0]._replace(inputs=(3, 8, 8, 4)).arrays()
    np.testing.assert_allclose(exported.call(inputs, kernel), jds.depthwise_conv(inputs, kernel), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", ["native", "shifted", "xla", None])
def test_a_whole_program_can_be_lowered_with_one_implementation(implementation):
    inputs, kernel, _ = WORKLOADS[0]._replace(kernel=(3, 3, 1, 4)).arrays()

    def call(x):
        x = jds.depthwise_conv(x, kernel, bias=np.ones(4, np.float32), implementation=implementation)
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4
        )

    counts = {}
    for wanted in ("auto", "xla"):
        with _lowering.override(wanted):
            exported = jax.export.export(jax.jit(call), platforms=["cpu"])(inputs)
        counts[wanted] = exported.mlir_module().count("stablehlo.convolution")
        np.testing.assert_allclose(exported.call(inputs), call(inputs), rtol=1e-5, atol=1e-5)
    assert counts == {"auto": 0, "xla": 2}
