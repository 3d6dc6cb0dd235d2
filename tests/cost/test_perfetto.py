"""The trace of a profiled run: its layers and instructions in the format of Chrome's trace events."""

import collections
import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from jds import cost
from jds.cost._run import Piece, Run, Slice

SPREAD = cost.Spread(1.0, 2.0, 3.0)


def measurement(run):
    return cost.Measurement(SPREAD, {"a": SPREAD}, SPREAD, run)


def piece(start, seconds, layer, thread="one"):
    return Piece(start * 1e-6, seconds * 1e-6, layer, "dot_general", f"dot.{start}", thread)


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
        (1000, 4000, "stages"),
        (1000, 4000, "stages/0"),
        (1000, 3000, "stages/0/conv"),
        (4000, 5000, "(not attributed)"),
    ]
    times = own_times(layers)
    assert sum(times.values()) == 30_000
    # For 3.001 microseconds, two threads share the time.
    assert times == {
        "(call)": 13_000, "(not attributed)": 1000, "stages": 0, "stages/0": 1000, "stages/0/conv": 2000,
        "stages/1": 0, "stages/1/conv": pytest.approx(5500, abs=1), "head": pytest.approx(4500, abs=1), "(no layer)": 3000,
    }  # fmt: skip
    assert sum(own_times(found["one"]).values()) == 10_001


def test_instructions_have_their_layer_primitive_and_duration(tmp_path):
    events = written(measurement(RUN), tmp_path / "trace.json.gz")
    (event,) = [event for event in events if event["name"] == "dot.12"]
    assert event["args"] == {"layer": "(no layer)", "primitive": "dot_general", "microseconds": pytest.approx(3)}


def test_a_run_without_instructions_is_not_attributed():
    assert list(Run(2.0, ()).slices()) == [Slice(0.0, 2.0, "(not attributed)")]


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
