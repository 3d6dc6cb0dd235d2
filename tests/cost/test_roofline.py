"""Lower bounds on time from peak rates, measured or published."""

import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jds import cli, cost
from jds.cost.devices import _devices, _rates


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


PEAK = cost.Peak("made up", {"float32": 1000.0}, bytes=100.0, source="nowhere")


def test_each_row_is_bound_by_the_slower_of_arithmetic_and_memory():
    def fun(x, w):
        with jax.named_scope("product"):
            x = x @ w
        with jax.named_scope("sum"):
            return x + 1

    found = cost.estimate(cost.analyze(fun, shape(64, 64), shape(64, 64)), PEAK)
    flops, array = 2 * 64**3, 4 * 64 * 64
    assert found.rows == (
        ("product", max(flops / 1000, 3 * array / 100), "arithmetic", None),
        ("sum", 2 * array / 100, "memory", None),
    )
    # The array between the two operations need not go to memory, and a sum with a constant may be merged.
    assert found.total == ("total", max(flops / 1000, 3 * array / 100), "arithmetic", None)


def rates(flops, bytes, slower=1.0, busy=0.0):
    """Makes a machine with these rates."""
    return {
        "arithmetic_rates": lambda: {"float32": cost.Spread(flops / slower, flops / slower, flops)},
        "memory_rate": lambda: cost.Spread(bytes, bytes, bytes),
        "busy_cores": lambda: busy,
    }


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def become(*args, **kwargs):
        for name, value in rates(*args, **kwargs).items():
            monkeypatch.setattr(_devices, name, value)

    become(2e9, 1e9)
    return become


def figures(peak):
    return peak.rates["float32"], peak.bytes


def test_this_machine_is_measured_once(machine, tmp_path, monkeypatch):
    assert figures(cost.find_device("this")) == (2e9, 1e9)
    assert [file.name for file in (tmp_path / "jds").iterdir()] == ["peaks.json"]
    monkeypatch.setattr(_devices, "arithmetic_rates", lambda: pytest.fail("measured again"))
    assert figures(cost.measure_peak()) == (2e9, 1e9)
    machine(3e9, 1e9)
    assert figures(cost.measure_peak(again=True)) == (3e9, 1e9)
    # A lower rate, measured under load, does not replace the peak.
    machine(1e9, 1e9, busy=2.0)
    assert figures(cost.measure_peak(again=True)) == (3e9, 1e9)
    assert "other programs used 0.0 cores" in cost.measure_peak().source
    for damaged in ("{half", "[]", '{"x": 1}'):
        (tmp_path / "jds" / "peaks.json").write_text(damaged)
        machine(3e9, 1e9)
        assert figures(cost.measure_peak()) == (3e9, 1e9)
        assert len(json.loads((tmp_path / "jds" / "peaks.json").read_text())) == 1


@pytest.mark.parametrize("disturbed", [{"busy": 1.0}, {"slower": 3.0}])
def test_rates_that_look_wrong_are_measured_again(machine, disturbed):
    machine(1e9, 1e9, **disturbed)
    source = cost.measure_peak().source
    assert f"{disturbed.get('slower', 1.0):.2f} times slower" in source
    assert f"used {disturbed.get('busy', 0.0):.1f} cores" in source
    machine(2e9, 0.5e9)
    assert figures(cost.measure_peak()) == (2e9, 1e9)
    machine(9e9, 9e9)
    assert figures(cost.measure_peak()) == (2e9, 1e9)


def test_a_cache_that_cannot_be_written_is_not_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(_rates, "_rate", lambda count, run: cost.Spread(count, count, count))
    assert figures(cost.measure_peak()) == (2 * 2048**3, 8 * 2**26)


def test_rates_of_this_machine_have_a_plausible_magnitude():
    matrix = jnp.ones((256, 256))
    rate = _rates._rate(2 * 256**3, lambda: jnp.dot(matrix, matrix).block_until_ready(), 0.01)
    assert 1e8 < rate.median <= rate.high < 1e16


@pytest.mark.parametrize(
    ("name", "device"),
    [("pixel 4", "snapdragon_855_cpu"), ("iPhone-13", "apple_a15_npu"), ("RPi4", "raspberry_pi_4"), ("h100", "h100")],
)
def test_devices_have_the_names_that_people_type(name, device):
    assert cost.find_device(name) is cost.DEVICES[device]


@pytest.mark.parametrize(("name", "hints"), [("pixel 9", "google_tensor"), ("h10", "h100"), ("iphone 99", "apple_a1")])
def test_unknown_devices_are_refused_with_similar_ones(name, hints):
    with pytest.raises(ValueError, match=rf"`name` must be this or one of h100, .*; did you mean .*{hints}"):
        cost.find_device(name)
    with pytest.raises(ValueError, match=r"got 'toaster'$"):
        cost.find_device("toaster")


def product(dtype, precision=None):
    array = jax.ShapeDtypeStruct((512, 512), dtype)
    with jax.numpy_dtype_promotion("standard"):
        return cost.analyze(
            lambda x, y: jax.lax.dot(x, y, precision=precision, preferred_element_type=None), array, array
        )


GPU = cost.Peak("GPU", {"float32": 1e3, "tfloat32": 4e3, "bfloat16": 8e3}, bytes=1e12, source="")


@pytest.mark.parametrize(
    ("dtype", "precision", "peak", "seconds"),
    [
        (jnp.float32, None, GPU, 2 * 512**3 / 4e3),
        (jnp.float32, "highest", GPU, 2 * 512**3 / 1e3),
        (jnp.bfloat16, None, GPU, 2 * 512**3 / 8e3),
        (jnp.float16, None, GPU, 2 * 512**3 / 4e3),
        # The algorithm that the program asks for.
        (jnp.float32, jax.lax.DotAlgorithmPreset.BF16_BF16_F32_X3, GPU, 2 * 512**3 / 8e3),
        (jnp.float32, jax.lax.DotAlgorithmPreset.F32_F32_F32, GPU, 2 * 512**3 / 1e3),
        (jnp.bfloat16, jax.lax.DotAlgorithmPreset.F32_F32_F32, GPU, 2 * 512**3 / 1e3),
        (jnp.float32, jax.lax.DotAlgorithmPreset.DEFAULT, GPU, 2 * 512**3 / 4e3),
        (jnp.complex64, "highest", GPU, 8 * 512**3 / 1e3),
        (jnp.int8, None, cost.DEVICES["snapdragon_8_gen_3_npu"], 2 * 512**3 / 45e12),
        (jnp.float32, None, cost.DEVICES["snapdragon_8_gen_3_npu"], 2 * 512**3 / 45e12),
        (jnp.float32, None, cost.DEVICES["tpu_v5e"], 2 * 512**3 / 197e12),
    ],
)
def test_the_rate_is_that_of_the_arithmetic_in_which_the_device_computes(dtype, precision, peak, seconds):
    fast = peak._replace(bytes=1e20)
    assert cost.estimate(product(dtype, precision), fast).total.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.float8_e4m3fn, jnp.float8_e5m2])
@pytest.mark.parametrize("sums", [None, jnp.int32, jnp.float32])
def test_products_of_eight_bits_have_their_rate_whatever_their_sums_are(dtype, sums):
    x = jax.ShapeDtypeStruct((512, 512), dtype)
    found = cost.analyze(lambda x, y: jax.lax.dot(x, y, preferred_element_type=sums), x, x)
    peak = cost.Peak("NPU", {"float32": 1e3, "int8": 1e6}, bytes=1e20, source="")
    assert cost.estimate(found, peak).total.seconds == pytest.approx(2 * 512**3 / 1e6)


def test_a_device_for_int8_reads_a_quarter_of_the_bytes(unchecked_types):
    found = cost.analyze(lambda x: x + 1, shape(1000, 1000))
    npu = cost.Peak("NPU", {"int8": 1e12}, bytes=1e6, source="")
    estimate = cost.estimate(found, npu)
    assert estimate.total == ("total", 2.0, "memory", None)
    assert "The device does not compute in the program's dtype: the times are for int8." in estimate.notes()
    assert cost.estimate(found, npu._replace(rates={"float32": 1e12})).total.seconds == 8.0
    assert found.as_dtype("bfloat16").total.traffic == found.total.traffic // 2
    with pytest.raises(ValueError, match="`dtype` must be float16, bfloat16, int8, got 'int4'"):
        found.as_dtype("int4")


def test_arrays_in_the_last_cache_are_not_read_from_memory():
    found = cost.analyze(lambda x: x + 1, shape(1000, 1000))
    cached = PEAK._replace(cache=6_000_000, rates={"float32": 1e12})
    assert cost.estimate(found, cached).total.seconds == 2_000_000 / 100


TABLE = shape(100_000, 64)


@pytest.mark.parametrize(
    ("fun", "args", "traffic"),
    [
        (lambda table, i: table[i], (TABLE, jax.ShapeDtypeStruct((8,), jnp.int32)), 2 * 8 * 64 * 4 + 8 * 4),
        (lambda table, i: jax.lax.dynamic_slice(table, (i, i), (1, 64)), (TABLE, jax.ShapeDtypeStruct((), jnp.int32)), 516),
        (
            lambda cache, row, i: jax.lax.dynamic_update_slice(cache, row, (i, 0)),
            (TABLE, shape(1, 64), jax.ShapeDtypeStruct((), jnp.int32)),
            2 * 256 + 4,
        ),
        (lambda table: table[:8].T, (TABLE,), 2 * 8 * 64 * 4),
        (lambda table, i: table.at[i].add(1.0), (TABLE, jax.ShapeDtypeStruct((8,), jnp.int32)), 2 * 8 * 64 * 4 + 8 * 4),
        (lambda table, i: table.reshape(-1)[i], (TABLE, jax.ShapeDtypeStruct((8,), jnp.int32)), 2 * 8 * 4 + 8 * 4),
        (lambda table: table + 1, (TABLE,), 2 * 100_000 * 64 * 4),
        # What is computed is written as a whole, and what is read later is read.
        (lambda x, i: (x + 1).at[i].set(0.0), (TABLE, jax.ShapeDtypeStruct((), jnp.int32)), 2 * 100_000 * 64 * 4 + 4),
        (
            lambda cache, row, i: jax.lax.dynamic_update_slice(cache, row, (i, 0)).sum(),
            (TABLE, shape(1, 64), jax.ShapeDtypeStruct((), jnp.int32)),
            100_000 * 64 * 4 + 256 + 4 + 4,
        ),
        # In a loop, too.
        (
            lambda table, i: jax.lax.scan(lambda total, i: (total + table[i], None), jnp.zeros(64), i)[0],
            (TABLE, jax.ShapeDtypeStruct((8,), jnp.int32)),
            8 * 64 * 4 + 8 * 4 + 64 * 4,
        ),
        # In nested loops, all of an array that the inner one reads in slices.
        (
            lambda w, xs: jax.lax.scan(
                lambda total, x: (total + jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, w)[0].sum(), None), 0.0, xs
            )[0],
            (shape(4, 8, 8), shape(5, 1, 8)),
            4 * 8 * 8 * 4 + 5 * 8 * 4 + 4,
        ),
    ],
)  # fmt: skip
def test_of_arrays_that_are_indexed_only_what_is_touched_is_traffic(fun, args, traffic):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert cost.analyze(fun, *args).total.traffic == traffic


class TwoLayers(nnx.Module):
    def __init__(self, rngs):
        self.large = nnx.Linear(400, 400, rngs=rngs)
        self.small = nnx.Linear(400, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.small(jnp.tanh(self.large(self.dropout(x))))


def test_a_program_and_its_layers_are_timed_with_zeros():
    model = nnx.eval_shape(lambda: TwoLayers(nnx.Rngs(0)))
    found = cost.measure_program(model, shape(400, 400), seconds=0.05)
    assert found.total.low <= found.total.median <= found.total.high
    assert {"large", "small"} <= set(found.layers)
    # It has a hundred times the work, but timing is noisy; a layer's instructions take a part of the total time, summed
    # over several threads.
    assert found.layers["large"].median > found.layers["small"].median
    assert found.layers["large"].low < 5 * found.total.high

    bounds = cost.estimate(cost.analyze(model, shape(400, 400)), PEAK, measured=found)
    assert bounds.total.share == bounds.total.seconds / found.total.median
    shares = {row.name: row.share for row in bounds.rows}
    assert shares["large"] == pytest.approx(2 * 400**3 / 1000 / found.layers["large"].median, rel=0.01)


def test_a_layer_without_its_own_instructions_has_no_time():
    measured = cost.Measurement(cost.Spread(1.0, 2.0, 3.0), {}, cost.Spread(1.0, 2.0, 3.0))
    found = cost.estimate(cost.analyze(jnp.sin, shape(9)), "a100", measured=measured)
    assert found.total.measured == 2.0
    assert [(row.measured, row.share) for row in found.rows] == [(None, None)]


def test_the_command_prints_the_lower_bound(capsys, monkeypatch):
    monkeypatch.setitem(cost.DEVICES, "a100", PEAK)
    monkeypatch.setattr(_devices, "measure_peak", lambda: PEAK)
    dot = ["cost", "jax.numpy:dot", "--arguments", "float32[64,64]", "float32[64,64]", "--by", "operation"]
    cli.main([*dot, "--device", "a100"])
    out = " ".join(capsys.readouterr().out.split())
    assert "On made up: at least 524 s." in out
    assert "dot_general 64×64 262.1k 100 524.3k 0 524,288,000 arithmetic" in out
    assert "0.000001 GFLOP/s in float32, 0.0000001 GB/s: nowhere" in out
    cli.main([*dot[:-2], "--device", "this", "--measure"])
    assert "measured share" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "h10"], "`--device` must be this or one of h100, "),
        (["--device", "a100", "--measure"], "`--measure` runs on this machine, not on a100"),
    ],
)
def test_wrong_devices_are_refused(options, message, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["cost", "mobilenetv1_100", *options])
    assert exit.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
