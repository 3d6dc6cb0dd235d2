"""Pages and figures of `jds.cost`."""

import collections
import functools

import jax
import jax.numpy as jnp
import pytest
from html_page import Page

import jds
from jds import cost
from jds.cost import _pareto
from jds.cost._grouping import kind_of
from jds.cost._palette import OTHER, family
from jds.cost._roofline import roofline
from jds.cost.figures import _labels, _layers

PEAK = cost.Peak("<device>", {"float32": 1e11}, bytes=1e10, source="its <maker>")


@functools.cache
def network():
    model = jds.create_model("mobilenetv3_small_100")
    model.eval()
    return cost.analyze(model, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))


def measured(analysis, left_out=()):
    """Times of all layers, in program order 1, 2, … µs, but of those left out."""
    names = [row.name for row in analysis.by("layer") if row.name not in left_out]
    layers = {name: cost.Spread(*[1e-6 * (i + 1)] * 3) for i, name in enumerate(names)}
    layers["(call)"] = cost.Spread(5e-6, 5e-6, 5e-6)
    total = cost.Spread(*[sum(time.median for time in layers.values())] * 3)
    return cost.Measurement(total, layers, total)


def page_of(analysis, by="layer", estimate=None):
    return Page(analysis.to_html(by, estimate))


def layers_and_norms(x, w):
    with jax.named_scope("<b>&"):
        x = jnp.tanh(x @ w)
    with jax.named_scope("plain"):
        return x[::-1]


def small():
    return cost.analyze(
        layers_and_norms, jax.ShapeDtypeStruct((4, 8), "float32"), jax.ShapeDtypeStruct((8, 8), "float32")
    )


def test_a_page_has_a_row_for_each_layer_inside_its_stages():
    found = page_of(network())
    lines = found.lines
    singles = [line for line in lines if line["expanded"] is None]
    assert len(singles) == len(network().by("layer"))
    by_name = {line["name"]: line for line in lines}
    outer = lines[int(by_name["stages/1/0/expand/conv"]["up"])]
    assert outer["name"] == "stages/1/0/expand"
    assert lines[int(outer["up"])]["name"] == "stages/1/0"
    # The work of a stage itself has a row in it.
    assert lines[int(by_name["stem itself"]["up"])]["name"] == "stem"
    # A stage with one block is not shown twice.
    assert "stages/0" not in by_name


def test_stages_are_folded_at_first_only_if_there_are_many_rows():
    lines = page_of(network()).lines
    assert {line["name"] for line in lines if line["expanded"] == "true"} == {"stem", "stages"}
    assert not any(line["is_folded"] for line in lines if line["name"].count("/") < 2 and line["name"] != "stages/0/0")
    assert all(line["is_folded"] for line in lines if line["name"].startswith("stages/1/"))
    assert len(page_of(network(), cost.Grouping("layer", depth=1)).lines) < 10
    few = page_of(network(), cost.Grouping("layer", depth=3)).lines
    assert not any(line["is_folded"] for line in few)


@pytest.mark.parametrize("by", ["layer", "fused"])
def test_folded_rows_are_those_of_their_depth(by):
    estimate = cost.estimate(network(), PEAK, by, measured(network()))
    lines = page_of(network(), by, estimate).lines
    folders = [line for line in lines if line["expanded"] is not None]
    assert len(folders) > 20
    for depth in range(1, 5):
        grouping = cost.Grouping(by, depth)
        rows = {row.name: row for row in network().by(grouping)}
        bounds = {row.name: row for row in cost.estimate(network(), PEAK, grouping, measured(network())).rows}
        for line in folders:
            name = line["name"].replace("(no layer)", "")
            if name.count("/") != depth - 1:
                continue
            row, bound = rows[name], bounds[name]
            values = line["values"]
            counts = [int(float(values[name])) for name in ("mult-adds", "params", "bytes in", "out")]
            assert counts == [row.macs, row.parameters, row.bytes_in, row.bytes_out]
            assert float(values["µs alone"]) == pytest.approx(bound.seconds, rel=1e-6)
            assert float(values["measured"]) == pytest.approx(bound.measured, rel=1e-6)


@pytest.mark.parametrize("by", ["kind", "operation", cost.Grouping(top=5), cost.Grouping(sort="macs")])
def test_rows_that_are_no_layers_or_are_sorted_do_not_fold(by):
    found = page_of(network(), by)
    assert [line["values"]["mult-adds"] for line in found.lines] == [str(row.macs) for row in network().by(by)]
    assert not any(line["expanded"] for line in found.lines)
    assert found.count("button", "fold") == 0


def test_the_head_has_the_totals():
    estimate = cost.estimate(network(), PEAK, measured=measured(network()))
    text = page_of(network(), estimate=estimate).text
    total = network().total
    for words in ("Mult-adds", "Parameters", "Peak memory", "Least time", "Measured time", f"JAX {jax.__version__}"):
        assert words in text
    assert f"{total.parameters / 1e6:.2f}M" in text
    assert "Measured time" not in page_of(network(), estimate=cost.estimate(network(), PEAK)).text


def test_columns_have_tooltips_and_colors():
    found = page_of(network())
    titles = [attributes["title"] for tag, attributes in found.elements if tag == "th" and "title" in attributes]
    assert any("including padding" in title for title in titles)
    kinds = {line["texts"]["kind"]: line["class"].split()[0] for line in found.lines}
    assert kinds["depthwise"] == "k-depthwise"
    assert kinds["normalization"] == "k-other"


def test_receptive_fields_have_columns_if_there_is_an_image():
    lines = {line["name"]: line for line in page_of(network()).lines}
    rows = {row.name: row for row in network().by("layer")}
    assert rows["stem/conv"].receptive_field == (3, 3)
    assert [lines["stem/conv"]["texts"][name] for name in ("field", "stride")] == ["3", "2"]
    assert lines["classifier"]["texts"]["stride"] == ""
    assert "field" not in page_of(small()).headings


def test_everything_is_escaped():
    analysis = small()
    estimate = cost.estimate(analysis, PEAK)
    text = analysis.to_html(estimate=estimate)
    found = Page(text)
    assert "<b>" not in text
    assert "<maker>" not in text
    assert "<device>" not in text
    assert [line["name"] for line in found.lines] == ["<b>&", "plain"]


def test_the_caption_counts_what_is_not_drawn():
    analysis = small()
    found = roofline(analysis, cost.Grouping(), cost.estimate(analysis, PEAK))
    assert len(found.dots) == 1
    assert "Nothing was measured" in found.caption()
    assert "1 row without FLOPs is not shown." in found.caption()
    page = page_of(analysis, estimate=cost.estimate(analysis, PEAK))
    assert page.count("circle", "open") == 1
    assert "1 row without FLOPs is not shown." in page.text


def test_measured_and_unmeasured_dots_are_told_apart():
    names = [row.name for row in network().by("layer") if row.flops][:26]
    estimate = cost.estimate(network(), PEAK, measured=measured(network(), names))
    page = page_of(network(), estimate=estimate)
    drawn = sum(row.flops > 0 for row in network().by("layer"))
    assert page.count("circle", "open") == 26
    assert page.count("circle", "dot") == drawn
    assert "26 rows shown have no measured time." in page.text
    assert "reached" not in page.text
    # An unmeasured row is not above the roof.
    found = roofline(network(), cost.Grouping(), estimate)
    unmeasured = [dot for dot in found.dots if not dot.is_measured]
    assert {dot.row.name for dot in unmeasured} == set(names)
    assert all(dot.rate <= found.at_most(dot.row.intensity) * 1.001 for dot in unmeasured)
    above = sum(dot.rate > found.at_most(dot.row.intensity) for dot in found.dots if dot.is_measured)
    assert f"{above} rows above the roof" in found.caption()
    # Time in no row has a row of its own.
    assert page.lines[-1]["name"] == "(call)"
    assert page.lines[-1]["texts"]["measured"] == "5"


def test_the_memory_curve_marks_its_peak():
    page = page_of(network())
    memory = network().memory
    assert page.count("circle", "peak") == 1
    assert page.count("rect", "stage") > 10
    assert f"in {memory.layer} ({memory.operation})" in page.text
    assert "which stay" in page.text
    parts = [row["cells"][0]["text"] for row in page.rows if len(row["cells"]) == 3]
    assert parts == ["parameters", "state", "activations"]


def test_a_page_of_a_program_without_operations():
    found = cost.analyze(lambda x: x, jax.ShapeDtypeStruct((4,), "float32"))
    page = page_of(found, estimate=cost.estimate(found, PEAK))
    assert not page.lines
    assert not any(bar.macs.total() for bar in _layers.bars(found))


def test_a_large_page_is_small_enough():
    analysis = many(1000)
    text = analysis.to_html(estimate=cost.estimate(analysis, PEAK, measured=measured(analysis)))
    assert len(text.encode()) < 1.5e6


# --------------------------------------------------------------------------------------------------------- comparisons


def test_a_comparison_is_a_page():
    other = cost.analyze(layers_and_norms, *[jax.ShapeDtypeStruct(size, "float32") for size in ((4, 8), (8, 8))])
    text = cost.compare(network(), other, cost.Grouping("layer", depth=2)).to_html()
    page = Page(text)
    lines = {line["name"]: line for line in page.lines}
    assert {"stem/conv", "stages/1", "<b>&", "plain"} <= lines.keys()
    assert lines["plain"]["texts"]["change"] == ""
    assert "<b>" not in text
    assert page.headings.count("against") == 3


# -------------------------------------------------------------------------------------------------------------- sweeps


@functools.cache
def swept(device=None):
    def make(size, depth):
        def fun(x, w):
            for _ in range(depth):
                x = jnp.tanh(x @ w)
            return x

        return cost.analyze(fun, *[jax.ShapeDtypeStruct((size, size), "float32")] * 2, parameter_argnums=1)

    return cost.sweep("<product>", make, {"size": [16, 32, 64], "depth": [1, 2]}, device)


@pytest.mark.parametrize(("device", "panels"), [(None, 3), ("h100", 4)])
def test_a_sweep_is_a_page(device, panels):
    text = swept(device).to_html()
    page = Page(text)
    assert len(page.lines) == 6
    assert page.count("svg") == panels
    assert page.count("circle", "point") == 6 * panels
    assert "<product>" not in text


def test_a_front_has_what_nothing_else_beats():
    for panel in _pareto.panels(swept("h100")):
        for point in swept("h100").points:
            x, y = panel.x.of(point), panel.y.of(point)
            beaten = any(panel.x.of(other) <= x and panel.y.of(other) >= y for other in panel.front if other != point)
            assert beaten or point in panel.front
        places = [(panel.x.of(point), panel.y.of(point)) for point in panel.front]
        assert places == sorted(set(places))


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    found = []
    monkeypatch.setattr(_layers.Figure, "savefig", lambda figure, *_, **__: found.append(figure))
    return found


@pytest.mark.parametrize(("device", "panels"), [(None, 3), ("h100", 4)])
def test_a_sweep_is_plotted(device, panels, figures, tmp_path):
    swept(device).plot(tmp_path / "x.png")
    axes = figures[0].axes
    assert len(axes) == panels
    assert all(len(each.collections[0].get_offsets()) == 6 for each in axes)
    assert all(each.texts for each in axes)


# --------------------------------------------------------------------------------------------------------------- plots


def many(count):
    def fun(x, w):
        for i in range(count):
            with jax.named_scope(f"layer{i}"):
                x = jnp.tanh(x @ w)
        return x

    shapes = [jax.ShapeDtypeStruct((8, 8), "float32")] * 2
    return cost.analyze(fun, *shapes, parameter_argnums=1)


@pytest.mark.parametrize("make", [network, lambda: many(100), small], ids=["stages", "a flat program", "few"])
def test_bars_keep_their_kinds_and_add_up(make):
    analysis = make()
    estimate = cost.estimate(analysis, PEAK)
    bars = _layers.bars(analysis, estimate)
    assert len(bars) <= 64
    drawn = sum((collections.Counter(bar.macs) for bar in bars), collections.Counter())
    counted = collections.Counter()
    for operation in analysis.operations:
        counted[family(kind_of(operation))] += operation.counts.macs
    assert +drawn == +counted
    assert drawn[OTHER] == 0
    rows = analysis.by("layer")
    for kind in {family(row.kind) for row in rows}:
        assert sum(bar.traffic.get(kind, 0) for bar in bars) == sum(
            row.traffic for row in rows if family(row.kind) == kind
        )
    assert sum(sum(bar.seconds.values()) for bar in bars) == pytest.approx(sum(row.seconds for row in estimate.rows))
    assert sum(bar.layers for bar in bars) == len(rows)


def test_the_figure_draws_the_bars_and_says_what_is_missing(figures, tmp_path):
    names = ["stem/conv", "classifier"]
    estimate = cost.estimate(network(), PEAK, measured=measured(network(), names))
    network().plot(tmp_path / "x.png", estimate)
    figure = figures[0]
    counts, _, times, below = figure.axes
    assert sum(patch.get_width() for patch in counts.patches) == pytest.approx(network().total.macs / 1e6)
    texts = [text.get_text() for part in figure.subfigs for text in part.texts]
    said = " ".join([*texts, *(part.get_supxlabel() for part in figure.subfigs)])
    assert "2 of 126 layers have no measured time" in said
    assert "5 µs (call)" in said
    bars = _layers.bars(network(), estimate)
    assert len(times.lines) == sum(bar.measured is not None for bar in bars) == len(bars) - 2
    hollow, filled = below.collections
    assert len(hollow.get_offsets()) == 2
    assert len(filled.get_offsets()) == sum(row.flops > 0 for row in network().by("layer")) - 2
    assert hollow.get_facecolors().size == 0
    assert below.texts


def test_names_that_would_overlap_are_moved_or_left_out():
    label = _labels.place_labels
    places = [(50.0, 50.0, "first"), (52.0, 50.0, "second")] + [(51.0, 50.0, f"other {i}") for i in range(40)]
    found = label(places, [(x, y) for x, y, _ in places], (0.0, 0.0, 200.0, 100.0), 6.0)
    assert found[0].name == "first"
    assert 2 <= len(found) < 42
    boxes = [(each.left, each.base - 10, each.left + 6 * len(each.name), each.base + 3) for each in found]
    for i, one in enumerate(boxes):
        for two in boxes[:i]:
            assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]


# ----------------------------------------------------------------------------------------------------------- notebooks


def test_results_are_shown_in_notebooks():
    analysis = network()
    times = measured(analysis)
    shown = [
        analysis,
        analysis.memory,
        cost.compare(analysis, small()),
        swept(),
        cost.forecast(cost.analyze(jnp.dot, *2 * [jax.ShapeDtypeStruct((512, 512), jnp.float32)]), "pixel 4"),
        cost.check_budget(analysis, [cost.Limit("macs", 1)]),
        cost.estimate(small(), PEAK),
        times,
        cost.reconcile(jnp.dot, jnp.ones((2, 2)), jnp.ones((2, 2))),
        cost.xla(jnp.dot, jnp.ones((2, 2)), jnp.ones((2, 2))),
    ]
    for each in shown:
        html = each._repr_html_()
        Page(html)
        assert "<table>" in html
    assert "<b>" not in cost.estimate(small(), PEAK)._repr_html_()
    assert "&lt;b&gt;&amp;" in cost.estimate(small(), PEAK)._repr_html_()
