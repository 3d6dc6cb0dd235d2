"""The output of a comparison, from given samples and from a short real measurement."""

import json
import math

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

import jds
from jds import compare, cost
from jds.compare import _plot, _text
from jds.compare._measure import FORMS, Comparison, LayerComparison, XlaFlops, xla_flops
from jds.cost import Layer

LAYER = Layer("block", (14, 14, 512), 512, (3, 3))
STEM = Layer("stem", (28, 28, 3), 512, (3, 3), strides=2, separable=False)


def row(layer=LAYER, *, ordinary=(8e-3, 8e-3, 4e-3), fast=(1e-3, 2e-3, 1e-3), dispatch=1e-5, flops=2e6):
    """A row as if it had been measured."""
    samples = {"ordinary": ordinary, "jds": fast, "xla_grouped": (4e-3,) * 3, "dispatch": (dispatch,) * 3}
    if not layer.separable:
        samples |= {"jds": ordinary, "xla_grouped": ordinary}
    return LayerComparison(layer, 1, {form: XlaFlops(2e6, flops) for form in FORMS}, samples)


def text(*renderables, width=80):
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(*renderables, sep="\n")
    return capture.get()


@pytest.mark.parametrize(
    ("layer", "batch", "lines"),
    [
        (
            Layer("textbook", (6, 6, 3), 5, (3, 3), padding="VALID"),
            1,
            [
                "6×6×3 input, 5 filters of 3×3, padding VALID: 4×4×5 output",
                "ordinary 3·3·3 = 27 × 4·4 = 16 × 5 = 2160",
                "depthwise 3·3 = 9 × 4·4 = 16 × 3 = 432",
                "pointwise 3 × 4·4 = 16 × 5 = 240",
                "separable: 432 + 240 = 672",
                "ratio: 672 / 2160 = 0.311 = 1/5 + 1/3²",
            ],
        ),
        (
            Layer("sequence", (128, 64), 32, (5,), strides=(2,), channel_multiplier=2),
            4,
            [
                "128×64 input, 32 filters of 5, strides 2, channel multiplier 2, padding SAME: 64×32 output",
                "depthwise 5 × 4·64 = 256 × 64·2 = 128 = 163,840",
                "pointwise 64·2 = 128 × 4·64 = 256 × 32 = 1,048,576",
                "= 0.463 = 2/32 + 2/5",
            ],
        ),
        (Layer("volume", (8, 8, 8, 2), 4, (3, 3, 3)), 1, ["ordinary 3·3·3·2 = 54", "= 1/4 + 1/3³"]),
        (Layer("oblong", (8, 8, 2), 4, (3, 5)), 1, ["= 1/4 + 1/(3·5)"]),
    ],
    ids=lambda value: value.name if isinstance(value, Layer) else "",
)
def test_arithmetic_goes_step_by_step(layer, batch, lines):
    written = " ".join(text(_text.arithmetic(layer, batch=batch), width=120).split())
    for line in lines:
        assert line in written


def test_time_ratio_is_the_median_over_rounds():
    comparison = Comparison("one layer", (row(),))
    # Round by round 1/8, 1/4, 1/4; the medians' ratio would be 1/8.
    assert comparison.time_ratio() == row().time_ratio().median == 0.25
    assert "0.113 of the multiplications take 0.250 of the time with jds, 0.500 with XLA's" in comparison.finding


def test_the_total_is_the_sum_of_the_layers():
    comparison = Comparison("network", (row(STEM), row(), row()))
    assert comparison.multiplications == cost.multiplications([STEM, LAYER, LAYER])
    assert comparison.seconds("ordinary") == pytest.approx(24e-3)
    assert comparison.time_ratio() == pytest.approx((8 + 1 + 1) / 24)
    assert comparison.flops("jds") == (6e6, 6e6)


def test_tables_fit_into_80_columns_and_end_with_the_total():
    comparison = Comparison("network", (row(STEM), row()))
    counts, times = text(_text.counts_table(comparison)), text(_text.times_table(comparison))
    assert "…" not in counts + times
    cells = {line.split()[0]: line.split()[1:] for line in counts.splitlines() if line.strip()}
    assert cells["total"] == ["465.13", "54.99", "0.118", "4.00", "4.00", "4.00", "4.00"]
    cells = {line.split()[0]: line.split()[1:] for line in times.splitlines() if line.strip()}
    cells_of_times = ["8.00", "±1.00", "1.00", "±0.25", "4.00", "±0.00"]
    assert cells["block"] == ["14×14×512→512", *cells_of_times, "0.250", "0.113"]
    assert cells["total"] == ["16.0", "9.00", "12.0", "0.562", "0.118"]


def test_unknown_flops_are_shown_as_unknown_and_never_summed():
    comparison = Comparison("network", (row(flops=None), row()))
    assert comparison.flops("jds") == (4e6, None)
    table = text(_text.counts_table(comparison))
    assert [line.split()[-1] for line in table.splitlines() if line.startswith(("block", "total"))] == [
        "unknown", "2.00", "unknown",
    ]  # fmt: skip


def test_a_layer_that_is_mostly_dispatch_is_marked_and_noted():
    comparison = Comparison("tiny", (row(dispatch=5e-4),))
    assert "*0.250" in text(_text.times_table(comparison))
    assert "Too small: more than a third of the time is dispatch overhead" in _text.notes(comparison)[-1]
    assert comparison.finding.startswith("Too small to tell")

    large = Comparison("large", (row(dispatch=3e-4),))
    assert "*" not in text(_text.times_table(large), *_text.notes(large))


@pytest.mark.parametrize("rows", [(row(),), (row(STEM), row(), row())], ids=["one layer", "network"])
def test_the_plot_shows_each_ratio(monkeypatch, tmp_path, rows):
    figures = []
    monkeypatch.setattr(_plot.Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    _plot.plot(Comparison("some layers", rows), tmp_path / "figure.png")
    (axes,) = figures[0].axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    total = [Comparison("some layers", rows).multiplications.ratio] if len(rows) > 1 else []
    in_theory = [float(ratio) for ratio in [*(row.multiplications.ratio for row in rows), *total]]
    assert list(lines["in theory"].get_xdata()) == in_theory
    assert {text.get_text() for text in figures[0].legends[0].texts} == {
        "in theory", "measured time, jds", "measured time, XLA's grouped convolution",
    }  # fmt: skip
    assert "of the multiplications take" in figures[0].get_suptitle()


@pytest.mark.parametrize(
    "layer",
    [
        Layer("2D", (9, 8, 3), 4, (3, 2), strides=2, kernel_dilation=(2, 1), channel_multiplier=2),
        Layer("1D", (9, 3), 4, (3,), padding=((1, 1),)),
        Layer("3D", (3, 4, 5, 2), 3, (2, 2, 2), padding="VALID"),
        Layer("classifier", (1, 1, 8), 5, (1, 1), separable=False),
    ],
    ids=lambda layer: layer.name,
)
def test_any_layer_is_measured_and_recorded(layer):
    measured = compare.compare_layer(layer, batch=2, seconds=0.0)
    record = json.loads(json.dumps(Comparison("any", (measured,)).to_dict()))
    assert record["schema"] == {"name": "jds.compare", "version": 3}
    assert record["machine"]["jds"] == jds.__version__
    (only,) = record["rows"]
    assert only["multiplications"] == dict(zip(("ordinary", "separable"), measured.multiplications, strict=True))
    assert (
        math.prod(only["steps"]["ordinary"][0][key] for key in ("parameters", "positions", "filters"))
        == (only["multiplications"]["ordinary"])
    )
    assert set(only["samples"]) == {*FORMS, "dispatch"}
    assert all(len(samples) == len(only["samples"]["jds"]) >= 3 for samples in only["samples"].values())
    if layer.separable:
        assert only["xla_flops"]["ordinary"]["lowered"] > 0
    else:
        assert only["time_ratio"]["jds"] == {"low": 1.0, "median": 1.0, "high": 1.0}


def test_a_matrix_product_is_counted_before_and_after_compilation():
    shapes = jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((16, 4), jnp.float32)
    for dot in (jnp.dot, jax.jit(jnp.dot)):
        assert xla_flops(dot, *shapes) == (2 * 8 * 16 * 4, 2 * 8 * 16 * 4)


def test_a_program_without_arithmetic_is_unknown_not_zero():
    assert xla_flops(lambda x: x.T, jnp.ones((2, 3))) == (None, None)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="calls LAPACK only on the CPU")
def test_a_custom_call_is_unknown_not_zero():
    assert xla_flops(jnp.linalg.cholesky, jnp.eye(4)) == (None, None)


@pytest.mark.parametrize("properties", [None, {}, {"flops": -1.0}, {"bytes accessed": 4.0}])
def test_counts_that_xla_does_not_report_are_unknown(monkeypatch, properties):
    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: properties)
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda self: properties)
    assert xla_flops(jnp.dot, jnp.ones(3), jnp.ones(3)) == (None, None)


def test_a_comparison_prints_itself():
    lines = str(Comparison("network", (row(STEM), row()))).splitlines()
    assert lines[0].startswith("In theory, and FLOPs as XLA counts them")
    assert lines[-1].startswith("0.118 of the multiplications take 0.562 of the time with jds")
