"""The trace of a profiled run: its layers and instructions in the format of Chrome's trace events."""

import collections
import gzip
import itertools
import json

import hypothesis
import jax
import jax.numpy as jnp
import pytest
from hypothesis import strategies as st

from jds import cost
from jds.cost._run import Loop, Owner, Piece, Run, Slice

SPREAD = cost.Spread(1.0, 2.0, 3.0)


def measurement(run):
    return cost.Measurement(SPREAD, {"a": SPREAD}, SPREAD, run)


def piece(start, seconds, layer, thread="one", **more):
    return Piece(start * 1e-6, seconds * 1e-6, Owner(layer), "dot_general", f"dot.{start}", thread, **more)


RUN = Run(
    30e-6,
    (
        piece(1, 2, "stages/0/conv"),
        piece(3, 1, "stages/0"),
        piece(5, 4.001, "stages/1/conv"),
        piece(6, 6, "head", "two"),
        piece(12, 3, "", "two"),
        piece(15, 3, "stages/1/conv"),
    ),
)


def written(measured, path):
    measured.to_perfetto(path)
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)["traceEvents"]


def tracks(events):
    """The names of the tracks, and the events of each: start, end and name, in nanoseconds."""
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    found = {name: [] for name in names.values()}
    for event in events:
        if event["ph"] == "X":
            start, duration = round(event["ts"] * 1e3), round(event["dur"] * 1e3)
            found[names[event["tid"]]].append((start, start + duration, event["name"]))
    return found


def own_times(track):
    """The time of each name, without that of the events inside; the events must be nested or disjoint."""
    times, around = collections.Counter(), []
    for start, end, name in track:
        while around and around[-1][1] <= start:
            around.pop()
        if around:
            assert around[-1][0] <= start <= end <= around[-1][1]
            times[around[-1][2]] -= end - start
        times[name] += end - start
        around.append((start, end, name))
    return times


def test_the_layers_of_a_run_are_nested_and_fill_it(tmp_path):
    found = tracks(written(measurement(RUN), tmp_path / "trace.json"))
    assert list(found) == ["layers", "one", "two"]
    layers = found["layers"]
    assert layers[:5] == [
        (0, 1000, "(call)"),
        (1000, 7500, "stages"),
        (1000, 4000, "stages/0"),
        (1000, 3000, "stages/0/conv"),
        (4000, 7500, "stages/1"),
    ]
    times = own_times(layers)
    assert sum(times.values()) == 30_000
    # For 3.001 microseconds, two threads share the time.
    assert times == {
        "(call)": 13_000, "stages": 0, "stages/0": 1000, "stages/0/conv": 2000,
        "stages/1": 0, "stages/1/conv": pytest.approx(6500, abs=1), "head": pytest.approx(4500, abs=1), "(no layer)": 3000,
    }  # fmt: skip
    assert sum(own_times(found["one"]).values()) == 10_001


def test_instructions_have_their_layer_primitive_and_duration(tmp_path):
    events = written(measurement(RUN), tmp_path / "trace.json.gz")
    (event,) = [event for event in events if event["name"] == "dot.12"]
    assert event["args"] == {"layer": "(no layer)", "primitive": "dot_general", "microseconds": pytest.approx(3)}


OUTER, INNER = Loop("while.1", Owner("outer", is_loop=True)), Loop("while.2", Owner("inner", is_loop=True))
IN_OUTER, IN_INNER = {"loops": (OUTER,)}, {"loops": (OUTER, INNER)}
HOLDS = {"holds_others": True}


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # XLA starts the second instruction.
        ([piece(1, 1, "a"), piece(5, 1, "b")], {"a": 1, "b": 4}),
        # The innermost loop around both.
        ([piece(1, 1, "a", **IN_OUTER), piece(5, 1, "b", **IN_OUTER)], {"a": 1, "b": 1, "outer": 3}),
        ([piece(1, 1, "a", **IN_INNER), piece(5, 1, "b", **IN_INNER)], {"a": 1, "b": 1, "inner": 3}),
        ([piece(1, 1, "a", **IN_INNER), piece(5, 1, "b", **IN_OUTER)], {"a": 1, "b": 1, "outer": 3}),
        # Into a loop, and out of it.
        ([piece(1, 1, "a"), piece(5, 1, "b", **IN_OUTER)], {"a": 1, "b": 4}),
        ([piece(1, 1, "a", **IN_OUTER), piece(5, 1, "b")], {"a": 1, "b": 4}),
        # A loop waits while another thread runs its body.
        (
            [piece(1, 6, "outer", **IN_OUTER, **HOLDS), piece(2, 2, "a", "two", **IN_OUTER), piece(5, 1, "b", "two")],
            {"outer": 3, "a": 2, "b": 1},
        ),
    ],
)
def test_the_time_between_instructions_has_an_owner(pieces, expected):
    run = Run(9e-6, tuple(pieces))
    times = collections.Counter()
    for each in run.slices():
        times[each.owner.layer] += each.seconds * 1e6
    assert times.pop("(call)") == pytest.approx(9 - sum(expected.values()))
    assert times == pytest.approx(expected)
    busy = sum(each.seconds for each in pieces if not each.holds_others)
    assert run.waiting == pytest.approx(1e-6 * sum(expected.values()) - busy)


MOMENTS = st.integers(0, 20)
PIECES = st.lists(st.tuples(MOMENTS, MOMENTS, st.sampled_from("abc"), st.booleans()), min_size=1, max_size=8)


@hypothesis.given(PIECES)
def test_slices_fill_a_run_and_belong_to_what_runs(drawn):
    pieces = [piece(start, seconds, layer, **(HOLDS if holds else {})) for start, seconds, layer, holds in drawn]
    slices = list(Run(50e-6, tuple(sorted(pieces))).slices())
    for before, after in itertools.pairwise(slices):
        assert before.start + before.seconds == pytest.approx(after.start)
    assert (slices[0].start, slices[-1].start + slices[-1].seconds) == pytest.approx((0.0, 50e-6))
    # In each microsecond, an instruction that runs has its part, however many there are.
    times = collections.Counter()
    for each in slices:
        times[each.owner.layer] += each.seconds * 1e6
    expected = collections.Counter()
    first = min(start for start, *_ in drawn)
    last = max(start + seconds for start, seconds, *_ in drawn)
    for now in range(first, last):
        running = [each for each in drawn if each[0] <= now < each[0] + each[1]]
        leaves = [each for each in running if not each[3]] or running
        if not leaves:
            following = min(start for start, *_ in drawn if start > now)
            leaves = [each for each in drawn if each[0] == following][:1]
            names = {each[2] for each in drawn if each[0] == following}
            hypothesis.assume(len(names) == 1)  # otherwise it belongs to any of them
        for each in leaves:
            expected[each[2]] += 1 / len(leaves)
    expected["(call)"] += 50 - (last - first)
    # Ends that are equal in the drawn microseconds may differ by a rounding.
    found = {name: time for name, time in times.items() if time > 1e-6}
    assert found == pytest.approx({name: time for name, time in expected.items() if time})


def test_a_run_without_instructions_is_not_attributed():
    assert list(Run(2.0, ()).slices()) == [Slice(0.0, 2.0, Owner("(not attributed)"))]


def fun(x):
    with jax.named_scope("outer"):
        x = x @ x
        with jax.named_scope("inner"):
            return jnp.tanh(x) @ x


def test_a_measured_run_has_the_times_of_the_layers(tmp_path):
    measured = cost.measure_program(fun, jnp.ones((300, 300)), seconds=0.05)
    found = tracks(written(measured, tmp_path / "trace.json"))
    times = own_times(found["layers"])
    rows = {row.name for row in cost.analyze(fun, jnp.ones((300, 300))).by("layer")}
    assert {"outer", "outer/inner"} <= set(times) <= rows | {"(call)", "(not attributed)", "(no layer)"}
    assert sum(times.values()) == round(measured.run.seconds * 1e9)
    assert measured.profiled.low <= measured.run.seconds <= measured.profiled.high
    for name, track in found.items():
        if name != "layers":
            own_times(track)
    assert "Piece" not in repr(measured)
    assert "run" not in measured.to_dict()


def test_errors_leave_no_file(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no profiled run"):
        cost.Measurement(SPREAD, {}, SPREAD).to_perfetto(tmp_path / "trace.json")
    with pytest.raises(OSError, match="missing"):
        measurement(RUN).to_perfetto(tmp_path / "missing" / "trace.json")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        measurement(RUN).to_perfetto(tmp_path / "trace.json")
    assert not list(tmp_path.iterdir())
