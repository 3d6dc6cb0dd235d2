"""The command's output is complete at any width, and the command ends cleanly however it is stopped."""

import collections
import functools
import os
import re
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax
from rich.table import Table

from jds import cli, compare, cost
from jds._common.text import as_text
from jds.cli import _output
from jds.compare import _text
from jds.cost._grid import Heading, grid
from jds.models import MobileNetV1, MobileNetV1Config, mobilenet_v1

MAIN = "from jds.cli import main; main()"
SHORT = ("--seconds", "0.001")


@functools.cache
def compared():
    model = nnx.eval_shape(lambda: MobileNetV1(MobileNetV1Config(), rngs=nnx.Rngs(0)))
    layers = compare.network_layers(model, 32)[:3]
    rows = tuple(compare.compare_layer(layer, seconds=0.0) for layer in layers)
    return layers, compare.Comparison("MobileNet V1", rows)


@functools.cache
def counted():
    config = MobileNetV1Config(rows=mobilenet_v1.ROWS[:2])
    model = nnx.eval_shape(lambda: MobileNetV1(config, rngs=nnx.Rngs(0)))
    return cost.analyze(model, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))


@functools.cache
def parts():
    """All tables and paragraphs of `jds compare` and `jds cost`."""
    return list(made())


def made():
    layers, comparison = compared()
    for layer in (*layers, cost.Layer("textbook", (6, 6, 3), 5, (3, 3), padding="VALID")):
        if layer.separable:
            yield _text.arithmetic(layer)
    yield from (_text.counts_table(comparison), _text.times_table(comparison))
    yield from _text.notes(comparison)
    for by in ("layer", "kind", "operation", "equation"):
        yield counted().table(by)
    yield from counted().notes()
    peak = cost.find_device("a100")
    bounds = cost.estimate(counted(), peak)
    yield from (bounds.table(), *bounds.notes())
    yield cost.reconcile(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4))).table()


def printed(width, capsys, monkeypatch, *parts):
    monkeypatch.setenv("COLUMNS", str(width))
    _output.show(*parts)
    return capsys.readouterr().out


WIDE = collections.Counter()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.one_of(st.sampled_from([20, 30, 40]), st.integers(1, 200)))
def test_every_number_and_name_is_complete_at_any_width(width, capsys, monkeypatch):
    """Compares the words of tables with those at 200 columns, where none is cropped or broken, and all paragraphs."""
    tables = [part for part in parts() if isinstance(part, Table)]
    if not WIDE:
        WIDE.update(printed(200, capsys, monkeypatch, *tables).split())
    assert collections.Counter(printed(width, capsys, monkeypatch, *tables).split()) == WIDE
    paragraphs = [part for part in parts() if isinstance(part, str)]
    # Only spaces are added and removed; where a word is broken, none is.
    assert "".join(printed(width, capsys, monkeypatch, *paragraphs).split()) == "".join("".join(paragraphs).split())


def long_names(x, w):
    with jax.named_scope(
        "a_stage_with_a_rather_long_name_of_its_own/block/withoutanyplacewhereitcouldbefoldedinanyway"
    ):
        return lax.while_loop(lambda x: x[0, 0] < 3, lambda x: jnp.linalg.svd(x @ w)[0], x)


@functools.cache
def faces():
    """All that `jds cost` prints, of small, huge and unknown programs."""
    return list(made_faces())


def made_faces():
    huge = [jax.ShapeDtypeStruct((2**20, 2**20, 2**20), jnp.float32)] * 2
    unknown = cost.analyze(long_names, *[jax.ShapeDtypeStruct((4, 4), jnp.float32)] * 2)
    analyses = [counted(), cost.analyze(lambda x, w: x @ w, *huge), unknown, cost.analyze(lambda x: x, 1.0)]
    limits = [cost.Limit(name, 1.0) for name in ("macs", "flops", "params", "peak", "memory")]
    limits += [cost.Limit(name, 1e-12, "snapdragon_845_core") for name in ("time", "bound")]
    limits += [cost.Limit("macs", 1e30), cost.Limit("time", 1.0, "snapdragon_8_gen_3_npu")]
    for each in analyses:
        spread = cost.Spread(1e-4, 2e-4, 3e-4)
        measured = cost.Measurement(spread, {"": spread, "(call)": spread}, spread)
        for by in ("layer", "fused", "equation"):
            bounds = cost.estimate(each, "snapdragon 845", by, measured)
            yield lambda width, each=each, by=by, bounds=bounds: each.table(by, width=width, estimate=bounds)
            yield lambda width, each=each, by=by: each.table(by, width=width)
            yield from bounds.notes()
        yield from (each, *each.notes(), each.memory.summary())
        yield from (cost.forecast(each, "snapdragon 845"), cost.forecast(each, "h100"))
        yield cost.check_budget(each, limits)
        yield from (cost.compare(each, other) for other in analyses)
        settings = {"width": [0.25, 1e9], "image_size": [32, 1024], "batch": [1, 512]}
        yield cost.sweep("several", lambda each=each, **_: each, settings, "h100")
    yield cost.reconcile(lambda x: jnp.linalg.svd(jnp.sort(x) @ x), jnp.ones((4, 4)))
    yield f"module:function({', '.join(['float32[8,16]'] * 20)})"


@pytest.mark.parametrize("width", [40, 41, 47, 60, 72, 80, 100, 133, 200])
def test_no_face_is_wider_than_the_terminal(width, capsys, monkeypatch):
    shown = [part(width) if callable(part) else part for part in faces()]
    for line in printed(width, capsys, monkeypatch, *shown).splitlines():
        assert len(line) <= width, line


def test_a_wide_terminal_shows_all_columns(capsys, monkeypatch):
    for width, is_wide in ((200, True), (40, False)):
        text = printed(width, capsys, monkeypatch, *(face for face in faces() if not callable(face)))
        for heading in ("FLOP/B", "traffic", "at most", "dtype", "params  peak memory"):
            assert (heading in text) == is_wide
        for heading in ("mult-adds", "change", "cost", "ratio", "image_size"):
            assert heading in text


def test_numbers_have_no_exponents_and_nouns_the_right_number(capsys, monkeypatch):
    text = " ".join(printed(200, capsys, monkeypatch, *(face for face in faces() if not callable(face))).split())
    assert not re.search(r"\d(\.\d+)?e[+-]\d", text)
    one = cost.analyze(lambda x: jnp.exp(x), 1.0), cost.analyze(lambda n: n + 1, jnp.int32(1))
    notes = " ".join(note for each in one for note in each.notes())
    assert "Not in the FLOPs: 1 transcendental function. " in notes
    assert "Not in the FLOPs: 1 operation on integers. " in notes
    assert not re.search(r"\b(0|1) (transcendental functions|operations)", text + notes)


def test_paragraphs_are_wrapped_and_tables_are_not(capsys, monkeypatch):
    table, note = counted().table("equation"), counted().notes()[0]
    assert printed(20, capsys, monkeypatch, table) == printed(200, capsys, monkeypatch, table)
    assert max(map(len, printed(40, capsys, monkeypatch, note).splitlines())) <= 40


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.text("ab/_ 層é[]", max_size=30), min_size=3, max_size=3), max_size=6),
    width=st.none() | st.integers(1, 60),
    columns=st.integers(20, 100),
)
def test_columns_are_as_wide_as_if_rich_had_measured_them(rows, width, columns):
    headings = [Heading("name", is_number=False), Heading("層"), Heading("", 1, is_number=False)]
    table = grid(headings, rows, rows[:1], width=width)
    shown = as_text(table, width=columns)
    for column in table.columns:
        column.width = None
    assert as_text(table, width=columns) == shown


def test_lines_have_no_padding_in_color_either(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = printed(80, capsys, monkeypatch, _text.counts_table(compared()[1])).splitlines()
    assert lines[0] == "\x1b[1mIn theory, and FLOPs as XLA counts them (millions)\x1b[0m"
    assert not [line for line in lines if line.endswith(" ")]


def test_brackets_and_colons_are_not_markup(capsys):
    _output.show("fun(float32[red], :smile:)", cost.analyze(jnp.dot, 1.0, 2.0).table("operation"))
    assert capsys.readouterr().out.startswith("fun(float32[red], :smile:)\n")


def environment(**others):
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | others


def run(*arguments, before="", stdout=subprocess.PIPE, **others):
    command = [sys.executable, "-c", before + MAIN, *arguments]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, env=environment(**others)
    )


def test_a_closed_pipe_ends_the_command_silently():
    read, write = os.pipe()
    os.close(read)
    ended = run("models", stdout=write)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("arguments", [("models",), ("cost", "--help")])
def test_a_full_disk_is_reported_on_one_line(arguments):
    with open("/dev/full", "w") as full:
        ended = run(*arguments, stdout=full)
    message = "jds: standard output cannot be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, message)


def test_a_terminal_without_unicode_gets_ascii():
    ended = run("compare", *SHORT, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "6x6x3 input, 5 filters of 3x3, padding VALID: 4x4x5 output\n" in ended.stdout
    assert "ratio: 672 / 2160 = 0.311 = 1/5 + 1/3^2\n" in ended.stdout
    assert "textbook 6x6x3->5 " in ended.stdout


def test_a_warning_does_not_run_into_a_table():
    ended = run("compare", *SHORT, before="from jds.ops.native import _library; _library._fault = lambda: 'broken'; ")
    assert (ended.returncode, ended.stderr) == (0, "falling back to slower kernels: broken\n\n")


STUBBORN = """
import time
from jds.cli import _compare
from jds.cli import _options

def half(path):
    path.touch()
    print("ready", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:  # as one of JAX's callbacks does
            pass

_compare._text.arithmetic = lambda *_, **__: _options.write("json", _options.Path("x.json"), half)
"""


# As in a terminal: a shell makes background processes ignore Ctrl-C.
LISTENING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def test_ctrl_c_ends_the_command_at_once_even_where_exceptions_are_swallowed(tmp_path):
    command = [sys.executable, "-c", LISTENING + STUBBORN + MAIN, "compare"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "jds: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_a_call_from_python_leaves_signals_alone(capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cli.main(["--version"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
