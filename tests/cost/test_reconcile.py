"""XLA's view of a program, instruction by instruction, and why its counts differ from those in theory."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

from jds import cost
from jds._common.name_stack import origin
from jds.cost.hlo import _parse

IMAGES, KERNEL = jax.ShapeDtypeStruct((2, 8, 8, 8), jnp.float32), jax.ShapeDtypeStruct((3, 3, 1, 8), jnp.float32)
MATRIX = jax.ShapeDtypeStruct((8, 8), jnp.float32)


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


def test_simplified_work_is_a_cause():
    found, steps = causes(lambda x: (x + 1) - (x + 1), MATRIX)
    assert sum(found.values()) == steps.compiled - steps.theory
    assert found["simplified work"] < 0
    (words,) = [step.explanation for step in steps.to_compiled if step.cause == "simplified work"]
    assert "add" in words


def test_rounding_is_a_cause():
    x = jax.ShapeDtypeStruct((4097, 4097), jnp.float32)
    found, steps = causes(lambda x: jnp.tanh(x * 3 + 1).sum(), x)
    assert steps.theory == 3 * 4097**2 - 1
    assert steps.unexplained_lowered == steps.unexplained_compiled == 0
    assert set(found) <= {"rounding", "added work", "simplified work"}
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
    assert found["added work"] > 0
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
def test_foreign_code_is_named_and_unknown():
    steps = cost.reconcile(jnp.linalg.cholesky, MATRIX)
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
