"""No option of `jds cost` is ignored: with every kind of program and in every mode it changes something, or is refused."""

import dataclasses
import functools

import pytest

from jds import cli, cost, zoo
from jds.cli import _cost
from jds.cli._cost import Cost
from jds.cost.devices import _devices
from jds.models import mobilenet_v1

# An example of each option.
EXAMPLES = {
    "arguments": ["f32[2,2]"],
    "image_size": ["64"],
    "width": ["0.5"],
    "batch": ["3"],
    "grad": [],
    "optimizer": ["adam"],
    "as_dtype": ["int8"],
    "by": ["fused"],
    "depth": ["1"],
    "sort": ["name"],
    "top": ["1"],
    "count_padding": [],
    "trip_counts": ["7"],
    "against": ["mobilenetv1_100"],
    "against_arguments": ["f32[2,2]"],
    "sweep": ["batch=1,2"],
    "at_most": ["macs=1T,params=1T"],
    "batch_that_fits": ["1GB"],
    "xla": [],
    "device": ["h100"],
    "measure": [],
    "measure_peaks": [],
    "json": ["record.json"],
    "csv": ["rows.csv"],
    "html": ["page.html"],
    "plot": ["figure.svg"],
    "trace": ["run.json"],
}
NAMES = {"as_dtype": "--as", "count_padding": "--no-count-padding"}
# What an option requires, which is not what is tested.
WITH = {"optimizer": ["--grad"], "trace": ["--measure"], "measure_peaks": ["--device", "this"]}
NETWORK, FUNCTION, LOOP = ["mobilenetv1_100"], ["mine.py:f"], ["mine.py:loop", "--arguments", "f32[4,4]"]
BASES = {
    "network": NETWORK,
    "function": [*FUNCTION, "--arguments", "f32[4,4]"],
    "loop": LOOP,
    "file": ["small.onnx"],
    "file of any batch": ["any.onnx"],
    "sweep": [*NETWORK, "--sweep", "image_size=32,64"],
    "measured sweep": [*NETWORK, "--sweep", "image_size=32", "--measure"],
    "against a network": [*NETWORK, "--against", "mobilenetv1_100"],
    "against a file": [*NETWORK, "--against", "small.onnx"],
    "a function against another": [*FUNCTION, "--arguments", "f32[4,4]", "--against", "mine.py:g"],
    "the largest batch": [*NETWORK, "--batch-that-fits", "20MB"],
    "measured": [*FUNCTION, "--arguments", "f32[4,4]", "--measure"],
    "explained": [*FUNCTION, "--arguments", "f32[4,4]", "--xla"],
}


def test_there_is_an_example_of_each_option():
    assert set(EXAMPLES) == {field.name for field in dataclasses.fields(Cost)} - {"target"}


@pytest.fixture(scope="module", autouse=True)
def small():
    """Makes a network small."""
    variant = zoo.VARIANTS["mobilenetv1_100"]
    config = dataclasses.replace(variant.config, rows=mobilenet_v1.ROWS[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(zoo.VARIANTS, variant.name, variant._replace(config=config))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small):
    path = tmp_path_factory.mktemp("programs")
    for name, batch in (("small", "1"), ("any", "free")):
        options = ["--to", str(path / f"{name}.onnx"), "--image-size", "32", "--batch", batch]
        cli.main(["export", *NETWORK, *options])
    (path / "mine.py").write_text(
        "import jax\n"
        "def f(x):\n"
        "    with jax.named_scope('z/b'): x = jax.numpy.tanh(x)\n"
        "    with jax.named_scope('z/c'): y = x @ x\n"
        "    with jax.named_scope('d'): return jax.lax.conv(y[None, None], y[None, None], (1, 1), 'SAME')[0, 0]\n"
        "def g(x): return f(x) + 1\n"
        "def loop(x): return jax.lax.while_loop(lambda c: c[0, 0] < 3, f, x)\n"
    )
    return path


@functools.cache
def analysis(target):
    return target.analysis()


@pytest.fixture
def quick(monkeypatch):
    """Analyses are kept, and nothing is measured, compiled or drawn."""
    peak = cost.Peak("made up", {"float32": 1e9}, bytes=1e9, source="nowhere")
    spread = cost.Spread(1e-3, 2e-3, 3e-3)
    monkeypatch.setattr(_cost.Cost, "_analysis", lambda self, target, _=None: as_asked(self, analysis(target)))
    monkeypatch.setattr(cost, "measure_program", lambda *_, **__: cost.Measurement(spread, {"d": spread}, spread))
    monkeypatch.setattr(cost.Measurement, "to_perfetto", lambda _, path: path.write_text("{}"))
    for kind in (cost.Analysis, cost.Sweep):
        monkeypatch.setattr(kind, "plot", lambda _, path, *__: path.write_text("<svg>"))
    steps = cost.Reconciliation(1, 1.0, 1.0, (), (), 0.0, 0.0, (), (), 1, 1, 1.0, 1.0, 1, None, ())
    monkeypatch.setattr(cost, "reconcile", lambda *_, **__: steps)
    monkeypatch.setattr(_devices, "measure_peak", lambda: peak)
    monkeypatch.setattr(cost, "measure_peak", lambda again: print("measured again"))


def as_asked(options, found):
    return found if options.as_dtype is None else found.as_dtype(options.as_dtype)


def effect(words, capfd, folder):
    """What a command does: its exit status, what it prints, and the files that it writes."""
    before, status = set(folder.iterdir()), 0
    try:
        cli.main(["cost", *words])
    except SystemExit as exit:
        status = exit.code
    written = set(folder.iterdir()) - before
    for path in written - {folder / "__pycache__"}:
        path.unlink()
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert bool(err) == (status == 2), err
    return status, out, {path.name for path in written}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_no_option_is_ignored(base, folder, quick, capfd, monkeypatch):
    monkeypatch.chdir(folder)
    plain = effect(base, capfd, folder)
    assert plain[0] == 0
    for name, values in EXAMPLES.items():
        flag = NAMES.get(name, f"--{name.replace('_', '-')}")
        if flag in base:
            continue
        needed = [] if set(WITH.get(name, ())) & set(base) else WITH.get(name, [])
        without = effect([*base, *needed], capfd, folder) if needed else plain
        if without[0] != 2:
            found = effect([*base, *needed, flag, *values], capfd, folder)
            assert found[0] == 2 or found != without, f"{flag} is ignored"
