"""What designers ask: rows as a device runs them, comparisons, budgets, sweeps, and published times."""

import functools
import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

from jds import cost, zoo


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def network(name, size=64, **options):
    model = nnx.eval_shape(lambda: zoo.create_model(name, **options))
    model.eval()
    return cost.analyze(model, shape(1, size, size, 3))


@pytest.fixture(scope="module")
def small():
    return network("mobilenetv3_small_100")


def test_a_convolution_is_fused_with_its_normalization_and_activation(small):
    rows = {row.name: row for row in small.by("fused")}
    stem = rows["stem/conv"]
    parts = [row for row in small.by("layer") if row.name in ("stem/conv", "stem/norm", "stem")]
    assert stem.flops == sum(row.flops for row in parts)
    assert stem.bytes_out == parts[0].bytes_out
    assert stem.traffic < sum(row.traffic for row in parts)
    assert not any(name.startswith("stem/norm") for name in rows)
    assert sum(row.macs for row in rows.values()) == small.total.macs
    assert sum(row.parameters for row in rows.values()) == small.total.parameters


def test_a_sum_of_two_branches_is_a_row_of_its_own():
    def fun(x, first, second):
        with jax.named_scope("block"):
            return jnp.tanh(jnp.sin(x @ first) + jnp.cos(x @ second))

    rows = cost.analyze(fun, shape(8, 8), shape(8, 8), shape(8, 8)).by("fused")
    assert [(row.name, row.calls) for row in rows] == [("block", 4), ("block/add", 2)]


def test_rows_have_a_depth_an_order_and_a_number(small):
    by_depth = small.by(cost.Grouping("layer", depth=1))
    assert {row.name for row in by_depth} == {"stem", "stages", "", "neck", "classifier"}
    top = small.by(cost.Grouping("layer", sort="macs", top=3))
    largest = sorted((row.macs for row in small.by("layer")), reverse=True)
    assert [row.macs for row in top] == [*largest[:3], sum(largest[3:])]
    assert top[-1].name == "(others)"
    names = [row.name for row in small.by(cost.Grouping("layer", sort="name"))]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("grouping", "match"),
    [
        (cost.Grouping("color"), 'by: must be "layer", "fused"'),
        (cost.Grouping(sort="color"), 'sort: must be "program", "name"'),
        (cost.Grouping(depth=0), "depth: must be a positive number"),
        (cost.Grouping(top=-1), "top: must be a positive number"),
        (cost.Grouping("kind", depth=2), 'depth: is for rows by "layer" or "fused", got "kind"'),
    ],
)
def test_wrong_groupings_are_refused(small, grouping, match, unchecked_types):
    with pytest.raises(ValueError, match=match):
        small.by(grouping)


def test_in_int8_all_arrays_have_a_quarter_of_the_bytes(small):
    deployed = small.as_dtype("int8")
    assert 4 * deployed.total.traffic == small.total.traffic
    assert 4 * deployed.memory.activation_bytes == small.memory.activation_bytes
    assert deployed.total.counts == small.total.counts
    assert 2 * small.as_dtype("float16").memory.bytes == pytest.approx(small.memory.bytes, abs=16)


def test_two_networks_are_compared_stage_by_stage(small):
    other = network("mobilenetv2_100")
    found = cost.compare(small, other, cost.Grouping("layer", depth=2))
    rows = {pair.name: pair for pair in found.rows}
    assert rows["stages/6"].row is None
    assert rows["neck/conv"].reference is None
    assert sum(pair.row.macs for pair in found.rows if pair.row) == small.total.macs == found.total.row.macs
    assert sum(pair.reference.macs for pair in found.rows if pair.reference) == other.total.macs
    text = str(found)
    assert f"{100 * (small.total.macs / other.total.macs - 1):+.0f}%" in text
    assert json.loads(json.dumps(found.to_dict()))["total"]["row"]["name"] == "total"
    assert found.to_csv().splitlines()[0] == (
        "name,macs,reference_macs,parameters,reference_parameters,traffic,reference_traffic,"
        "is_lower_bound,reference_is_lower_bound"
    )
    order = [pair.name for pair in found.rows]
    assert order.index("stages/6") == order.index("stages/5") + 1


def test_limits_that_are_exceeded_are_listed_with_the_worst_layers(small):
    limits = [cost.Limit("macs", 1e6), cost.Limit("params", 1e9), cost.Limit("bound", 1e-6, "rpi4")]
    budget = cost.check_budget(small, limits)
    assert [verdict.is_kept for verdict in budget.verdicts] == [False, True, False]
    worst = budget.verdicts[0].worst
    assert worst[0][1] == max(row.macs for row in small.by("layer"))
    assert worst[0][0] in str(budget)
    assert not budget.is_kept
    peak = cost.check_budget(small, [cost.Limit("peak", small.memory.activation_bytes)])
    assert peak.is_kept
    assert json.loads(json.dumps(budget.to_dict()))["is_kept"] is False


def test_a_cost_that_is_not_known_is_not_within_a_limit():
    found = cost.analyze(jnp.linalg.eigh, shape(4, 4))
    assert not cost.check_budget(found, [cost.Limit("macs", 1e9)]).is_kept
    dense = cost.analyze(jnp.dot, shape(4, 4), shape(4, 4))
    assert not cost.check_budget(dense, [cost.Limit("time", 1.0, "h100")]).is_kept
    with pytest.raises(ValueError, match="`time` needs a device"):
        cost.check_budget(dense, [cost.Limit("time", 1.0)])


def test_a_limit_that_is_just_exceeded_is_not_shown_as_reached():
    found = cost.analyze(jnp.dot, shape(100, 100), shape(100, 100))
    budget = cost.check_budget(found, [cost.Limit("macs", most) for most in (1e6, 999_999, 5e5)])
    assert [verdict.words for verdict in budget.verdicts] == ["kept", "× > 1", "× 2.00"]


def forever(x):
    return jax.lax.while_loop(lambda c: c[0, 0] < 3, lambda c: c @ c, x)


@pytest.mark.parametrize("fun", [jnp.linalg.eigh, forever], ids=["no rule", "unknown trips"])
@pytest.mark.parametrize("device", ["h100", "snapdragon_845_cpu"])
def test_a_limit_on_what_is_not_fully_counted_is_never_kept(fun, device):
    """Whatever the limit: the program may cost more than any."""
    found = cost.analyze(fun, shape(4, 4))
    names = {"macs": None, "flops": None, "bound": device, "time": "snapdragon_845_cpu"}
    for most in (1e-9, 1.0, 1e30):
        for name, where in names.items():
            (verdict,) = cost.check_budget(found, [cost.Limit(name, most, where)]).verdicts
            assert not verdict.is_kept
            assert verdict.is_lower_bound
            assert (verdict.words == "unproven") == (verdict.value is not None and verdict.value <= most)
        # The sizes of parameters and of results are known.
        kept = cost.check_budget(
            found, [cost.Limit("params", 1e30), cost.Limit("peak", 1e30), cost.Limit("memory", 1e30)]
        )
        assert kept.is_kept
    text = str(cost.check_budget(found, [cost.Limit("flops", 1e30)]))
    assert f"≥ {found.total.flops}" in text
    assert "unproven" in text
    known = cost.check_budget(cost.analyze(jnp.dot, shape(4, 4), shape(4, 4)), [cost.Limit("bound", 1.0, device)])
    assert known.is_kept


def test_what_is_not_fully_counted_has_no_known_change():
    one, two = cost.analyze(forever, shape(4, 4)), cost.analyze(jnp.dot, shape(4, 4), shape(4, 4))
    for first, second in ((one, two), (two, one)):
        total = str(cost.compare(first, second)).split("total")[1].split()
        assert total.index("?") - total.index("≥") in (2, 3)
        assert "≥ 64" in cost.compare(first, second).to_html()
    assert "?" not in str(cost.compare(two, two))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda found: cost.compare(found, 3), TypeError, "compare: `reference` must be a result of `jds.cost.analyze`, got int"),
        (lambda found: cost.compare(None, found), TypeError, "compare: `analysis` must be a result of"),
        (lambda found: cost.compare(found, found, cost.Grouping(top=3)), ValueError, "compare: `top` must be None"),
        (lambda found: cost.estimate(3, "h100"), TypeError, "estimate: `analysis` must be a result of `jds.cost.analyze`, got int"),
        (lambda found: cost.estimate(found, 3), TypeError, "estimate: `device` must be a `jds.cost.Peak` or the name of a device, got int"),
        (lambda found: cost.estimate(found, "h100", measured=0.01), TypeError, "estimate: `measured` must be a result of `jds.cost.measure_program`, got float"),
        (lambda found: cost.find_device(None), TypeError, "find_device: `name` must be a string, such as 'pixel 4', got NoneType"),
        (lambda found: cost.forecast(found, cost.find_device("h100")), TypeError, "find_device: `name` must be a string, such as 'pixel 4', got Peak"),
        (lambda found: found.table(estimate="h100"), TypeError, "table: `estimate` must be a result of `jds.cost.estimate`, got str"),
        (lambda found: found.to_dict("h100"), TypeError, "to_dict: `estimate` must be"),
        (lambda found: found.to_csv(estimate="h100"), TypeError, "to_csv: `estimate` must be"),
        (lambda found: found.to_dataframe(estimate="h100"), TypeError, "to_dataframe: `estimate` must be"),
        (lambda found: found.to_html(estimate="h100"), TypeError, "to_html: `estimate` must be"),
        (lambda found: found.plot("x.png", "h100"), TypeError, "plot: `estimate` must be"),
        (lambda found: cost.forecast("net", "h100"), TypeError, "forecast: `analysis` must be a result of"),
        (lambda found: cost.check_budget(3, []), TypeError, "check_budget: `analysis` must be a result of"),
        (lambda found: cost.check_budget(found, [("macs", 3)]), TypeError, "`limits` must be `jds.cost.Limit`s"),
        (lambda found: cost.check_budget(found, [cost.Limit("macs", float("nan"))]), ValueError, "must be a positive number, got nan"),
        (lambda found: cost.check_budget(found, [cost.Limit("macs", "3M")]), ValueError, "must be a positive number, got '3M'"),
        (lambda found: cost.sweep("s", lambda n: n, {"n": [1]}), TypeError, "what `make` returns must be a result of"),
        (lambda found: found.by(cost.Grouping(depth=True)), ValueError, "depth: must be a positive number"),
        (lambda found: found.plot("x.txt"), ValueError, "plot: `path` must end in .png, .svg, .pdf or another format"),
        (lambda found: found.plot("x"), ValueError, "plot: `path` must end in"),
        (lambda found: swept(found).plot("x.txt"), ValueError, "plot: `path` must end in"),
    ],
)  # fmt: skip
def test_wrong_arguments_say_what_to_do(small, call, error, match, unchecked_types):
    with pytest.raises(error, match=match):
        call(small)


def swept(found):
    return cost.sweep("several", lambda n: found, {"n": [1, 2]})


def test_times_of_inference_say_nothing_of_training():
    model = zoo.create_model("mobilenetv1_100", width=0.25)
    model.eval()
    step = nnx.grad(lambda model, images: model(images).sum())
    found = cost.forecast(cost.analyze(step, model, shape(1, 64, 64, 3)), "snapdragon_821_core")
    assert (found.low, found.neighbors) == (None, ())


@pytest.mark.parametrize("device", ["snapdragon_821_core", "snapdragon_845_cpu", "pixel 2"])
def test_published_times_of_a_network_itself_are_inside_its_range(device):
    key = cost.find_device(device).name
    rows = [row for row in cost.MEASURED if cost.DEVICES[row.device].name == key and row.dtype == "float32"]
    row = next(row for row in rows if row.build and row.build[0] in ("mobilenetv1_100", "mobilenetv2_100"))
    name, width, size = row.build
    found = cost.forecast(network(name, size, **({} if width is None else {"width": width})), device)
    assert row in [neighbor.latency for neighbor in found.neighbors]
    assert found.low <= row.seconds * 1.02 <= 1.04 * found.high
    assert found.bound <= found.low
    assert row.network in str(found)


def test_in_int8_the_measurements_are_those_in_int8(small):
    found = cost.forecast(small.as_dtype("int8"), "stm32")
    assert {neighbor.latency.dtype for neighbor in found.neighbors} == {"int8"}
    assert found.bound < found.low < found.high


def test_without_published_times_there_is_no_estimate(small):
    found = cost.forecast(small, "h100")
    assert (found.low, found.high) == (None, None)
    assert "No estimate: fewer than 3 similar networks have published times on it." in found.summary()


@pytest.mark.parametrize(
    ("fun", "args"),
    [
        (lambda x: x @ x, [shape(512, 512, dtype=jnp.complex64)]),  # more operations than multiply-accumulates
        (lambda x: functools.reduce(lambda y, _: y * y + x, range(99), x), [shape(1000, 1000)]),
        (lambda x: lax.while_loop(lambda c: c.sum() < 3, lambda c: c @ c, x), [shape(512, 512)]),  # of unknown length
        (jnp.linalg.svd, [shape(512, 512)]),
        (lambda x: x, [shape(2)]),
    ],
)
def test_programs_that_are_no_networks_have_no_estimate(fun, args):
    found = cost.analyze(fun, *args)
    time = cost.forecast(found, "pixel 4")
    assert (time.low, time.high) == (None, None)
    (verdict,) = cost.check_budget(found, [cost.Limit("time", 1e9, "pixel 4")]).verdicts
    assert not verdict.is_kept


def test_a_sweep_has_a_point_for_each_combination(tmp_path):
    def make(width, image_size):
        return network("mobilenetv1_100", image_size, width=width)

    found = cost.sweep("mobilenetv1_100", make, {"width": [0.25, 0.5], "image_size": [32, 64]}, "rpi4")
    assert [tuple(point.settings.values()) for point in found.points] == [(0.25, 32), (0.25, 64), (0.5, 32), (0.5, 64)]
    one = make(0.5, 64)
    last = found.points[-1]
    assert (last.macs, last.parameters, last.peak_bytes) == (
        one.total.macs,
        one.total.parameters,
        one.memory.activation_bytes,
    )
    assert last.seconds == cost.estimate(one, "rpi4").total.seconds
    assert found.to_csv().splitlines()[0] == "width,image_size,macs,parameters,peak_bytes,seconds,is_lower_bound"
    with pytest.raises(ValueError, match="at least one setting, each with values"):
        cost.sweep("nothing", make, {"width": []})
