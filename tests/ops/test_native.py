"""The CPU kernels: each instruction set, threads, sharding, and running without the kernels."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from workloads import WORKLOADS

import jds
from jds.ops.native import _library
from jds.ops.native._attributes import geometry_attributes, no_epilogue_attributes

DEPTHWISE = [workload for workload in WORKLOADS if workload.function == "depthwise_conv"]
# Numbers of channels near the vector widths: 4, 8 and 16.
CHANNELS = (1, 3, 4, 7, 8, 15, 16, 17, 33)


NATIVE = functools.partial(jds.depthwise_conv, implementation="native")


def value_and_gradients(inputs, kernel, *, convolve=NATIVE, **options):
    call = functools.partial(convolve, **options)
    out, vjp = jax.vjp(call, inputs, kernel)
    return out, *vjp(jnp.sin(out))


def test_the_portable_version_is_always_available():
    assert _library.instruction_sets()[-1] == "portable"


@functools.cache
def around_the_widths(dtype, multiplier, **options):
    """Inputs and kernels, and one program for all of them, which selects its instruction set at run time."""
    rng = np.random.default_rng(0)
    arrays = [
        [
            jax.device_put(rng.standard_normal(shape).astype(dtype))
            for shape in ((2, 6, 11, channels), (3, 2, 1, channels * multiplier))
        ]
        for channels in CHANNELS
    ]
    return arrays, jax.jit(lambda arrays: [value_and_gradients(*pair, **options) for pair in arrays])


@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2), ("float16", 2e-3)])
def test_each_instruction_set_matches_the_oracle(instruction_set, dtype, tolerance, multiplier):
    options = {"strides": (2, 1), "kernel_dilation": (1, 2), "padding": ((1, 2), (0, 3))}
    arrays, run = around_the_widths(dtype, multiplier, **options)
    for (inputs, kernel), got in zip(arrays, run(arrays), strict=True):
        exact = {**options, "groups": inputs.shape[-1]}
        want = [
            oracle.conv(inputs, kernel, **exact),
            *oracle.conv(inputs, kernel, **exact, cotangent=np.sin(np.asarray(got[0]))),
        ]
        for ours, theirs in zip(got, want, strict=True):
            scale = np.abs(theirs).max() + 1e-3
            np.testing.assert_allclose(np.asarray(ours, np.float64), theirs.reshape(ours.shape), atol=tolerance * scale)


def test_nan_and_infinity_affect_only_the_windows_that_contain_them(instruction_set):
    # All other results stay finite: nothing outside the array is read, and nothing is multiplied by zero.
    inputs = jnp.zeros((1, 9, 9, 5)).at[0, 4, 4, 2].set(jnp.nan).at[0, 0, 0, 0].set(jnp.inf)
    out = jax.jit(lambda x: jds.depthwise_conv(x, jnp.ones((3, 3, 1, 5)), implementation="native"))(inputs)
    assert np.isnan(out).sum() == np.isnan(out[0, 3:6, 3:6, 2]).sum() == 9
    assert np.isinf(out).sum() == np.isinf(out[0, :2, :2, 0]).sum() == 4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounding_is_to_nearest_even(instruction_set, dtype):
    # Means of neighbors are exact in float32; a 16-bit result is rounded as NumPy rounds it.
    rng = np.random.default_rng(0)
    values = rng.standard_normal(4096) * 2.0 ** rng.integers(-13, 15, 4096)
    special = [0.0, -0.0, 65504, 65504, 3e-7, 6e-8, 6e-5, np.inf, 1.0, -np.inf, np.inf, np.nan]
    inputs = np.concatenate([values, special]).astype(jnp.dtype(dtype)).reshape(1, -1, 1)
    halves = jnp.full((2, 1, 1), 0.5, dtype)
    out = jds.depthwise_conv(inputs, halves, padding="VALID", implementation="native")
    wide = inputs.astype(np.float32)
    with np.errstate(all="ignore"):
        want = ((wide[:, 1:] * 0.5) + (wide[:, :-1] * 0.5)).astype(inputs.dtype)
    np.testing.assert_array_equal(np.asarray(out, np.float32), want.astype(np.float32))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("size", [(9,), (9, 12), (3, 4, 6)], ids=str)
def test_ordinary_convolutions_of_images_match_the_oracle(instruction_set, size, dtype, tolerance):
    rng, rank = np.random.default_rng(0), len(size)
    options = {"strides": (2,) * rank, "kernel_dilation": (1,) * (rank - 1) + (2,), "padding": ((1, 2),) * rank}
    for in_features in (1, 2, 3):
        inputs = jax.device_put(rng.standard_normal((2, *size, in_features)).astype(dtype))
        kernel = jax.device_put(rng.standard_normal((*(3,) * rank, in_features, 35)).astype(dtype))
        got = jax.jit(lambda x, k: jds.conv(x, k, **options))(inputs, kernel)
        want = oracle.conv(inputs, kernel, **options)
        np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("size", [(9,), (9, 12), (3, 4, 6)], ids=str)
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_ordinary_convolutions_match_the_oracle(instruction_set, size, dtype, tolerance, strides, monkeypatch):
    monkeypatch.setattr("jds.ops._dispatch.fast_in_xla", lambda form: None)
    rng, rank = np.random.default_rng(0), len(size)
    options = {
        "strides": (strides,) * rank,
        "kernel_dilation": (1,) * (rank - 1) + (2 if strides == 1 else 1,),
        "padding": ((1, 2),) * rank,
    }
    for in_features in (2, 17):
        inputs = jax.device_put(rng.standard_normal((2, *size, in_features)).astype(dtype))
        kernel = jax.device_put(rng.standard_normal((*(3,) * rank, in_features, 35)).astype(dtype))
        run = jax.jit(functools.partial(value_and_gradients, convolve=jds.conv, **options))
        assert "stablehlo.convolution" not in run.lower(inputs, kernel).as_text()
        out, *gradients = run(inputs, kernel)
        cotangent = np.sin(np.asarray(out))
        want = oracle.conv(inputs, kernel, **options), *oracle.conv(inputs, kernel, **options, cotangent=cotangent)
        for ours, theirs in zip((out, *gradients), want, strict=True):
            np.testing.assert_allclose(
                np.asarray(ours, np.float64), theirs.reshape(ours.shape), atol=tolerance * np.abs(theirs).max()
            )


def test_ordinary_convolutions_are_replaced_in_every_layout():
    def targets(features, layout="NHWC", call=jds.conv):
        inputs, kernel = jnp.ones((2, 8, 8, features)), jnp.ones((3, 3, features, 32))
        if layout == "NCHW":
            inputs = inputs.transpose(0, 3, 1, 2)
        text = jax.jit(call).lower(inputs, kernel).as_text()
        return text.count("@jds_ordinary"), text.count("stablehlo.convolution")

    @jds.accelerate
    def channels_first(inputs, kernel):
        return jax.lax.conv_general_dilated(inputs, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "HWIO", "NCHW"))

    assert targets(3) == (1, 0)
    assert targets(3, "NCHW", channels_first) == (1, 0)
    assert targets(113) == (1, 0)
    assert targets(114) == (0, 1)
    assert targets(3, call=lambda x, k: jds.conv(x, k, implementation="xla")) == (0, 1)
    choice = jds.select_implementation(jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4)), platform="cpu")
    assert [c.implementation for c in choice] == ["native", "native", "xla"]
    assert choice.forward.reason == "ordinary: a CPU kernel is faster than XLA's convolution"


def test_the_same_call_gives_the_same_bits():
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.standard_normal((8, 40, 40, 24)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, 1, 24)), jnp.float32)
    run = jax.jit(value_and_gradients)
    first = run(inputs, kernel)
    for _ in range(5):
        for again, before in zip(run(inputs, kernel), first, strict=True):
            np.testing.assert_array_equal(again, before)


THREADS = """
import os, sys
os.sched_setaffinity(0, {cpus})
import jax, jax.numpy as jnp, numpy as np
import jds
x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 40, 40, 24)), jnp.float32)
k = jnp.asarray(np.random.default_rng(1).standard_normal((3, 3, 1, 24)), jnp.float32)
out, vjp = jax.vjp(lambda x, k: jds.depthwise_conv(x, k, implementation="native"), x, k)
np.savez(sys.argv[1], out, *vjp(jnp.cos(out)))
"""


def test_any_number_of_threads_gives_the_same_values_up_to_rounding(tmp_path):
    available = sorted(os.sched_getaffinity(0))
    results = []
    for name, cpus in (("one", available[:1]), ("all", available)):
        path = tmp_path / f"{name}.npz"
        subprocess.run([sys.executable, "-c", THREADS.format(cpus=set(cpus)), path], check=True, capture_output=True)
        with np.load(path) as arrays:
            results.append([arrays[key] for key in arrays])
    for one, every in zip(*results, strict=True):
        np.testing.assert_allclose(one, every, rtol=1e-5, atol=1e-5 * np.abs(one).max())


@pytest.mark.parametrize(
    ("axes", "inputs_spec", "kernel_spec", "all_reduces"),
    [
        ({"a": 4}, P("a"), P(), 1),
        ({"a": 4}, P(None, None, None, "a"), P(None, None, None, "a"), 0),
        ({"a": 2, "b": 2}, P("b", None, None, "a"), P(None, None, None, "a"), 1),
        ({"a": 2, "b": 2}, P(("b", "a")), P(), 1),
    ],
)
def test_sharded_arrays_stay_sharded(axes, inputs_spec, kernel_spec, all_reduces):
    mesh = jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes))
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.standard_normal((4, 6, 5, 8)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, 1, 16)), jnp.float32)
    placed = [
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in ((inputs, inputs_spec), (kernel, kernel_spec))
    ]
    program = jax.jit(value_and_gradients).lower(*placed).compile()
    text = program.as_text()
    assert text.count('custom_call_target="jds_') == 3
    assert text.count("all-reduce(") + text.count("all-reduce-start(") == all_reduces
    assert "all-gather" not in text
    assert "all-to-all" not in text
    out, d_inputs, d_kernel = program(*placed)
    assert out.sharding.spec == d_inputs.sharding.spec == inputs_spec
    for ours, theirs in zip((out, d_inputs, d_kernel), value_and_gradients(inputs, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_an_exported_program_does_not_need_the_kernels():
    inputs, kernel, _ = DEPTHWISE[0].arrays()
    call = jax.jit(lambda x, k: jds.depthwise_conv(x, k, implementation="native"))
    assert "jds_depthwise" in call.lower(inputs, kernel).as_text()
    exported = jax.export.export(call)(inputs, kernel)
    assert "custom_call" not in exported.mlir_module()
    np.testing.assert_allclose(exported.call(inputs, kernel), call(inputs, kernel), rtol=1e-5, atol=1e-6)


def test_another_platform_is_refused():
    inputs, kernel, _ = DEPTHWISE[0].arrays()
    call = jax.jit(lambda x, k: jds.depthwise_conv(x, k, implementation="native"))
    with pytest.raises(NotImplementedError, match="`native` runs on CPUs only, not on 'cuda'"):
        call.trace(inputs, kernel).lower(lowering_platforms=("cuda",))


GEOMETRY = geometry_attributes([])
PLAIN = GEOMETRY | no_epilogue_attributes()
BIASED = PLAIN | {"has_bias": np.ones(1, np.int64)}


@pytest.mark.parametrize(
    ("target", "shapes", "geometry", "dtype", "message"),
    [
        ("jds_depthwise", [(1, 1, 4, 4, 8), (1, 3, 3, 8, 1, 1), (1, 1, 4, 4, 8, 1)], PLAIN, "float32", "rank 6"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 1), (1, 3, 3, 9, 1, 1), (1, 1, 4, 4, 8, 1)], PLAIN, "float32", "do not fit"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 2), (1, 3, 3, 8, 2, 2), (1, 1, 4, 4, 8, 2)], PLAIN, "float32", "not both"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 1), (1, 3, 3, 8, 1, 1), (1, 1, 4, 4, 8, 1)], {**PLAIN, "low": np.zeros(2, np.int64)}, "float32", "3 numbers, got 2"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 1), (1, 3, 3, 8, 1, 1), (1, 1, 4, 4, 8, 1)], {**PLAIN, "short_steps": np.zeros(3, np.int64)}, "float32", "positive"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 1), (1, 3, 3, 8, 1, 1), (1, 1, 4, 4, 8, 1)], PLAIN, "int32", "float32, bfloat16"),
        ("jds_depthwise", [(1, 1, 64, 64, 1, 1), (1, 40, 40, 1, 1, 1), (1, 1, 9, 9, 1, 1)], PLAIN, "float32", "at most 1024"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 1), (1, 3, 3, 8, 1, 1), (1, 1, 4, 4, 8, 1)], BIASED, "float32", "expected 3 operands, got 2"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 1), (1, 3, 3, 8, 1, 1), (7,), (1, 1, 4, 4, 8, 1)], BIASED, "float32", r"of float32 and shape \(8\), got shape \(7\)"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 1), (1, 3, 3, 8, 1, 1), (1, 1, 4, 4, 8, 1)], {**PLAIN, "activation": np.full(1, 99)}, "float32", "unknown activation 99"),
        ("jds_depthwise", [(1, 1, 4, 4, 8, 1), (1, 3, 3, 8, 1, 1), (1, 1, 4, 4, 8, 1)], {**PLAIN, "activation": np.zeros(2, np.int64)}, "float32", "must have 1 numbers, got 2"),
        ("jds_kernel_gradient", [(2, 1, 4, 4, 8, 1), (1, 1, 4, 4, 8, 1), (1, 1, 1, 8, 1, 1)], GEOMETRY, "float32", "do not fit"),
        ("jds_kernel_gradient", [(1, 1, 4, 4, 8, 2), (1, 1, 4, 4, 8, 2), (1, 1, 1, 8, 2, 2)], GEOMETRY, "float32", "not of both"),
    ],
)  # fmt: skip
def test_a_mismatch_is_an_error_with_a_message(target, shapes, geometry, dtype, message):
    _library.load()
    *operands, out = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    call = jax.jit(lambda *arrays: jax.ffi.ffi_call(target, out)(*arrays, **geometry))
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        call(*(jnp.ones(operand.shape, operand.dtype) for operand in operands)).block_until_ready()


WITHOUT = """
import logging, os
logging.basicConfig(format="%(message)s")
import jax.numpy as jnp
from jds.ops.native import _library
from jds.ops.native._attributes import geometry_attributes
assert _library.load.cache_info().currsize == (os.environ.get("JDS_NATIVE") != "0")  # loaded on import
if {missing}:
    _library._PATH = _library._PATH.with_name("missing.so")
import jds
x, k = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))
for _ in range(2):
    print(float(jds.depthwise_conv(x, k).sum()))
choice = jds.select_implementation(x, k, feature_group_count=4).forward
print(choice.implementation, "|", choice.reason)
try:
    jds.depthwise_conv(x, k, implementation="native")
except NotImplementedError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "switch", "reason", "log_lines"),
    [(True, None, "no C++ compiler was found", 1), (False, "0", "disabled by JDS_NATIVE=0", 0)],
)
def test_without_the_library_jds_runs_on_shifted(missing, switch, reason, log_lines):
    environment = {**os.environ, **({"JDS_NATIVE": switch} if switch else {})}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    sums, choice, error = done.stdout.splitlines()[:2], *done.stdout.splitlines()[2:]
    assert sums == ["1936.0", "1936.0"]
    assert choice.startswith("shifted |")
    assert reason in choice
    assert reason in error
    assert done.stderr.count("falling back to slower kernels") == log_lines
