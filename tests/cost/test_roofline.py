"""Lower bounds on time from peak rates, measured or published."""

import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jds import cli, cost
from jds.cost import _devices


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


PEAK = cost.Peak("made up", flops=1000.0, bytes=100.0, source="nowhere")


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
    # The array between the two operations need not go to memory.
    assert found.total == ("total", max((flops + 64 * 64) / 1000, 3 * array / 100), "arithmetic", None)


def test_published_devices_have_a_source():
    for name, peak in cost.DEVICES.items():
        assert peak.source.startswith("https://")
        assert cost.find_device(name) is peak
        # The operations per byte at which arithmetic becomes the limit.
        assert 4 < peak.flops / peak.bytes < 1000


def test_this_machine_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_devices, "_arithmetic_rate", lambda: 2e9)
    monkeypatch.setattr(_devices, "_memory_rate", lambda: 1e9)
    assert cost.find_device("this")[1:3] == (2e9, 1e9)
    assert [file.name for file in (tmp_path / "jds").iterdir()] == ["peaks.json"]
    monkeypatch.setattr(_devices, "_arithmetic_rate", lambda: pytest.fail("measured again"))
    assert cost.measure_peak()[1:3] == (2e9, 1e9)
    monkeypatch.setattr(_devices, "_arithmetic_rate", lambda: 3e9)
    assert cost.measure_peak(again=True).flops == 3e9
    # A lower rate, measured under load, does not replace the peak.
    monkeypatch.setattr(_devices, "_arithmetic_rate", lambda: 1e9)
    assert cost.measure_peak(again=True).flops == 3e9
    monkeypatch.setattr(_devices, "_arithmetic_rate", lambda: 3e9)
    (tmp_path / "jds" / "peaks.json").write_text("{half")
    assert cost.measure_peak().flops == 3e9
    assert len(json.loads((tmp_path / "jds" / "peaks.json").read_text())) == 1


def test_a_cache_that_cannot_be_written_is_not_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(_devices, "_fastest", lambda run: 1.0)
    assert cost.measure_peak()[1:3] == (2 * 2048**3, 8 * 2**26)


def test_rates_of_this_machine_have_a_plausible_magnitude():
    matrix = jnp.ones((256, 256))
    seconds = _devices._fastest(lambda: jnp.dot(matrix, matrix).block_until_ready(), 0.01)
    assert 1e8 < 2 * 256**3 / seconds < 1e16


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
    measured = cost.Measurement(cost.Spread(1.0, 2.0, 3.0), {})
    found = cost.estimate(cost.analyze(jnp.sin, shape(9)), "a100", measured=measured)
    assert found.total.measured == 2.0
    assert [(row.measured, row.share) for row in found.rows] == [(None, None)]


def test_the_command_prints_the_lower_bound(capsys, monkeypatch):
    monkeypatch.setitem(cost.DEVICES, "a100", PEAK)
    monkeypatch.setattr(_devices, "measure_peak", lambda: PEAK)
    dot = ["cost", "jax.numpy:dot", "--arguments", "float32[64,64]", "float32[64,64]", "--by", "operation"]
    cli.main([*dot, "--device", "a100"])
    out = " ".join(capsys.readouterr().out.split())
    assert "Lower bound on made up" in out
    assert "dot_general 524,288,000 arithmetic" in out
    assert "1e-06 GFLOP/s, 1e-07 GB/s: nowhere" in out
    cli.main([*dot, "--device", "this", "--measure"])
    assert "µs measured share" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "h10"], "`--device` must be this or one of h100, "),
        (["--device", "a100", "--measure"], "`--measure` requires `--device this`"),
    ],
)
def test_wrong_devices_are_refused(options, message, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["cost", "mobilenetv1_100", *options])
    assert exit.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
