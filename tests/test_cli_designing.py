"""The options of `jds cost` for designers of networks, run in this process."""

import contextlib
import json
import sys
import textwrap

import jax
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jds import cli, cost
from jds.cli import _quantities
from jds.cli._cost import Cost
from jds.cost.devices import _devices


def out(capsys):
    return " ".join(capsys.readouterr().out.split())


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["cost", *arguments])
    assert exit.value.code == 2
    return " ".join(capsys.readouterr().err.split())


SMALL = ["mobilenetv3_small_050", "--image-size", "32"]
pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file with programs, in the current folder."""
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent("""
        import jax.numpy as jnp
        from flax import nnx

        net = nnx.Sequential(nnx.Linear(8, 8, rngs=nnx.Rngs(0)), nnx.BatchNorm(8, rngs=nnx.Rngs(0)))
        mlp = nnx.Sequential(nnx.Linear(8, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 8, rngs=nnx.Rngs(0)))

        def calls(x):
            return net(x)

        def named(x, *, scale):
            return x * scale

        class Net(nnx.Module):
            pass
        """)
    )
    monkeypatch.chdir(tmp_path)
    return path


def test_the_gradient_of_a_module_is_that_by_its_parameters(file, capsys):
    cli.main(["cost", "mine.py:mlp", "--arguments", "f32[4,8]", "--grad"])
    text = out(capsys)
    # Two products in the forward pass, and three in the backward pass: the input's gradient is not needed.
    assert "The backward pass has 1.50 times the mult-adds" in text
    assert "layers/0" in text
    with jax.numpy_dtype_promotion("standard"):
        cli.main(["cost", "mine.py:net", "--arguments", "f32[4,8]", "--grad", "--optimizer", "adamw"])
    assert "with its gradient and adamw" in out(capsys)


def test_arguments_have_names_and_may_be_keys(file, capsys):
    cli.main(["cost", "mine.py:named", "--arguments", "f32[4,8]", "scale=float32[]", "--by", "operation"])
    assert "\nmul " in capsys.readouterr().out
    cli.main(["cost", "jax.random:split", "--arguments", "key", "--by", "operation"])
    assert "random_split" in out(capsys)
    assert "must have those with a name last" in refused(["mine.py:named", "--arguments", "x=f32[4]", "f32[4]"], capsys)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine.py:Net", "must be a function or an instance, got the class Net"),
        ("missing.py:net", "there is no file 'missing.py'"),
        ("mine.py:missing", "has no attribute 'missing'"),
        ("mine.py:calls", "in training mode"),
    ],
)
def test_what_cannot_be_counted_is_refused(file, target, message, capsys):
    assert message in refused([target, "--arguments", "f32[4,8]"], capsys)


def test_rows_have_a_depth_an_order_and_a_number(capsys):
    cli.main(["cost", *SMALL, "--depth", "1", "--sort", "macs", "--top", "2"])
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("layer"))
    assert [line.split()[0] for line in lines[start + 2 : start + 5]] == ["classifier", "neck", "(others)"]


def test_no_line_is_longer_than_the_terminal(capsys, monkeypatch):
    count, kept = Cost._analysis, []

    def counted_once(options, *arguments):
        if not kept:
            kept.append(count(options, *arguments))
        return kept[0]

    monkeypatch.setattr(Cost, "_analysis", counted_once)
    for width in (40, 60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        cli.main(["cost", *SMALL, "--grad", "--device", "rpi4"])
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        rows = lines[: next(i for i, line in enumerate(lines) if line.startswith("total")) + 1]
        heading = next(line for line in rows if line.startswith("layer"))
        assert ("FLOP/B" in heading) == (width == 200)
        # A long name is folded at its slashes.
        assert not any(line.strip() in ("v", "nv", "m") for line in rows)


def test_in_int8_a_network_has_a_quarter_of_the_bytes(capsys, tmp_path):
    records = []
    for options in ([], ["--as", "int8"]):
        cli.main(["cost", *SMALL, *options, "--json", str(tmp_path / "record.json")])
        records.append(json.loads((tmp_path / "record.json").read_text()))
    whole, deployed = (record["total"]["traffic"] for record in records)
    assert whole == 4 * deployed
    assert records[1]["conventions"]["dtype"] == "int8"


def test_a_network_is_compared_with_another_one(capsys, tmp_path):
    record = tmp_path / "record.json"
    cli.main(["cost", *SMALL, "--against", "mobilenetv2_035", "--json", str(record)])
    text = out(capsys)
    assert "stages/2" in text
    assert "Peak memory, without parameters and state:" in text
    found = json.loads(record.read_text())
    assert found["reference"].startswith("mobilenetv2_035")
    assert found["schema"] == {"name": "jds.cost.comparison", "version": 4}


def test_an_exported_file_is_counted_and_compared(capsys, tmp_path):
    path = tmp_path / "small.onnx"
    cli.main(["export", "mobilenetv3_small_050", "--to", str(path), "--image-size", "32"])
    capsys.readouterr()
    cli.main(["cost", str(path), "--depth", "2", "--device", "pixel 3"])
    text = out(capsys)
    assert "stages/1" in text
    assert "at least" in text
    cli.main(
        [
            "cost",
            str(path),
            "--against",
            "mobilenetv3_small_050",
            "--image-size",
            "32",
            "--csv",
            str(tmp_path / "rows.csv"),
        ]
    )
    total = (tmp_path / "rows.csv").read_text().splitlines()[-1].split(",")
    assert total[0] == "total"
    assert total[1] == total[2]  # multiply-accumulates
    assert "it is fixed: its inputs begin with 1. Export it again" in refused([str(path), "--batch", "4"], capsys)
    assert "must be another file than the input" in refused([str(path), "--json", str(path)], capsys)
    path.rename(tmp_path / "LOUD.ONNX")
    cli.main(["cost", str(tmp_path / "LOUD.ONNX"), "--depth", "1"])
    assert "classifier" in out(capsys)
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    assert "bad.onnx" in refused([str(tmp_path / "bad.onnx")], capsys)


def test_limits_decide_the_exit_status(capsys):
    cli.main(["cost", *SMALL, "--at-most", "macs=300M,params=5M,peak=1MiB,time=30ms@snapdragon_845_cpu"])
    assert "kept" in out(capsys)
    with pytest.raises(SystemExit) as exit:
        cli.main(["cost", *SMALL, "--at-most", "macs=1k,bound=1s@rpi4"])
    assert exit.value.code == 1
    text = out(capsys)
    assert "1k ×" in text
    assert "kept" in text
    assert "stem/conv" in text


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("macs", "must have the form macs=300M"),
        ("time=3ms@", "must name a device"),
        ("color=3", "with one of macs, flops, params, peak, memory, time, bound"),
        ("macs=many", "must be a positive number without a unit or with one of k, "),
        ("time=3@rpi4", "must be a positive number with one of the units ns, us, µs, ms, s"),
        ("macs=1e999", "must be a positive number"),
        ("macs=57e", "must be a positive number"),
        ("macs=0", "must be a positive number"),
        ("time=3ms", "must name a device"),
        ("time=3ms@toaster", "must be this or one of h100"),
        ("macs=3M@rpi4", "has a device for time and bound only"),
    ],
)
def test_wrong_limits_are_refused(limit, message, capsys):
    text = refused([*SMALL, "--at-most", limit], capsys)
    assert message in text
    assert text.count(" got ") <= 1


@given(
    st.floats(1e-12, 1e12),
    st.sampled_from(["{:e}", "{:E}", "{:.12f}", "{!r}"]),
    st.sampled_from(["", "k", "MiB", " G"]),
)
def test_numbers_are_read_in_any_notation(value, form, unit):
    text = form.format(value)
    expected = float(text) * {"": 1, "k": 1e3, "MiB": 2**20, " G": 1e9}[unit]
    if expected:
        assert _quantities.number("--at-most", text + unit) == pytest.approx(expected)


def test_a_time_may_have_either_sign_of_micro():
    for text in ("1.5us", "1.5µs", "1.5μs", "1500ns", "1.5e-3ms"):
        (limit,) = _quantities.limits((f"bound={text}@h100",))
        assert limit.most == pytest.approx(1.5e-6)


def test_a_sweep_prints_its_points(capsys, tmp_path):
    cli.main(["cost", "mobilenetv3_small_050", "--sweep", "image_size=32,64", "--csv", str(tmp_path / "points.csv")])
    assert "image_size mult-adds params peak memory" in out(capsys)
    assert len((tmp_path / "points.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["width=0.5", "width=1"], "`--sweep` must have width once, as in width=1,2,4"),
        (["width=0.0001:1000:0.0001"], "`--sweep` must have at most 1000 points, got 10000000; take wider steps"),
        (["width=0.1:1:0.01", "image_size=32:512:32"], "at most 1000 points, got 1456"),
        (["width=0.5:1:1e-300"], "at most 1000 points"),
        (["width=1:inf:1"], "`--sweep` must have positive values, or a range"),
        (["width=nan"], "`--sweep` must have positive values, or a range"),
        ([], "`--sweep` must be followed by values"),
    ],
)
def test_sweeps_without_an_end_are_refused(words, message, capsys):
    assert message in refused(["mobilenetv3_small_050", "--sweep", *words], capsys)


@given(st.floats(0.01, 10), st.floats(0.01, 10), st.floats(0.02, 1))
def test_ranges_with_a_step_have_all_values_from_the_first(low, span, step):
    ((name, values),) = _quantities.ranges((f"width={low}:{low + span}:{step}",)).items()
    assert name == "width"
    assert values[0] == pytest.approx(low)
    assert values[-1] <= low + span + 1e-6 < values[-1] + step + 2e-6
    np.testing.assert_allclose(np.diff(values), step, rtol=1e-4)


def test_a_sweep_tells_a_terminal_how_many_points_it_has(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    cli.main(["cost", "mobilenetv3_small_050", "--sweep", "image_size=32,64"])
    err = capsys.readouterr().err
    assert "jds: 1 of 2 points: image_size 32 ..." in err
    assert "jds: 2 of 2 points: image_size 64 ..." in err


def test_every_mode_writes_a_record_with_the_schema(capsys, tmp_path, monkeypatch):
    record = tmp_path / "record.json"
    names = []
    for mode in ([], ["--against", SMALL[0]], ["--batch-that-fits", "8MiB"], ["--batch-that-fits", "1kB"]):
        with contextlib.suppress(SystemExit):
            cli.main(["cost", *SMALL, *mode, "--json", str(record)])
        found = json.loads(record.read_text())
        jsonschema.validate(found, cost.json_schema())
        names.append((found["schema"]["name"], found.get("batch", 1) > 0))
    cli.main(["cost", SMALL[0], "--sweep", "image_size=32", "--json", str(record)])
    jsonschema.validate(json.loads(record.read_text()), cost.json_schema())
    kinds = ["jds.cost", "jds.cost.comparison", "jds.cost.largest_batch", "jds.cost.largest_batch"]
    assert names == list(zip(kinds, [True, True, True, False], strict=True))


def test_the_record_has_what_the_terminal_says(capsys, tmp_path):
    record = tmp_path / "record.json"
    asked = ["--at-most", "macs=1k", "--device", "pixel 4", "--xla"]
    with pytest.raises(SystemExit) as exit:
        cli.main(["cost", *SMALL, *asked, "--json", str(record)])
    assert exit.value.code == 1
    found, text = json.loads(record.read_text()), out(capsys)
    jsonschema.validate(found, cost.json_schema())
    assert not found["budget"]["is_kept"]
    assert found["budget"]["verdicts"][0]["value"] == found["total"]["counts"]["macs"]
    assert f"in theory, with padding and all loop iterations {found['reconciliation']['theory']:,}" in text
    assert found["forecast"]["low"] is None  # no measured network is as small
    assert "No estimate: fewer than 3 similar networks" in text
    cli.main(["cost", *SMALL, "--json", str(record)])
    assert not {"budget", "forecast", "reconciliation"} & json.loads(record.read_text()).keys()


def test_a_sweep_is_measured_if_asked_for(capsys):
    cli.main(["cost", "mobilenetv3_small_050", "--sweep", "image_size=32", "--measure"])
    assert "ms measured" in out(capsys)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("width=0.25:1.4", [0.25, 0.5, 0.7, 0.95, 1.15, 1.4]),
        ("image_size=96:288:64", [96, 160, 224, 288]),
        ("image-size=96:288", [96, 128, 160, 224, 256, 288]),
        ("batch=1,8", [1, 8]),
    ],
)
def test_ranges_are_read(text, values):
    (found,) = _quantities.ranges((text,)).values()
    np.testing.assert_allclose(found, values)


@pytest.mark.parametrize(
    "text", ["width", "color=3", "width=a:b", "width=2:1", "image_size=0.5", "batch=1:2:0", "width=1:2:3:4"]
)
def test_wrong_ranges_are_refused(text, capsys):
    assert "`--sweep` must have" in refused(["mobilenetv3_small_050", "--sweep", text], capsys)


def test_the_largest_batch_is_found(capsys):
    cli.main(["cost", *SMALL, "--batch-that-fits", "8MiB"])
    text = out(capsys)
    assert " fits into 8MiB. peak memory" in text
    with pytest.raises(SystemExit) as exit:
        cli.main(["cost", *SMALL, "--batch-that-fits", "1MiB"])
    assert exit.value.code == 1
    assert "does not fit into 1MiB. peak memory" in out(capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sweep", "batch=1,2", "--against", "mobilenetv2_035"], "`--sweep` and `--against` do not go together"),
        (["--sweep", "batch=1,2", "--xla"], "`--xla` does not go together with `--sweep`"),
        (["--against", "mobilenetv2_035", "--plot", "x.png"], "`--plot` does not go together with `--against`"),
        (["--optimizer", "sgd"], "`--optimizer` requires `--grad`"),
        (["--by", "kind", "--depth", "2"], "`--depth` is for rows by layer or fused"),
        (["--measure", "--device", "a100"], "`--measure` runs on this machine, not on a100"),
        (["--batch", "2", "--batch-that-fits", "1GiB"], "`--batch` and `--batch-that-fits` do not go together"),
        (["--batch-that-fits", "much"], "must be a positive number without a unit or with one of"),
        (["--top", "0"], "`--top` must be positive"),
        (["--at-most"], "`--at-most` must be followed by values"),
        (["--batch-that-fits", "999999TiB"], "`--batch-that-fits 999999TiB` is too much: a batch of"),
        (["--batch-that-fits", "0.5B"], "`--batch-that-fits` must be at least one byte"),
        (["--width", "1e12"], "mobilenetv3_small_050 cannot be built with `--width 1e+12`"),
        (["--width", "1e300"], "mobilenetv3_small_050 cannot be built with"),
        (["--trip-counts", "3"], "`--trip-counts` requires a function"),
        (["--measure-peaks"], "`--measure-peaks` requires `--measure` or `--device this`"),
        (["--measure-peaks", "--device", "h100"], "`--measure-peaks` requires `--measure` or `--device this`"),
        (["--measure", "--as", "int8"], "`--as` does not go together with `--measure`"),
        (["--measure", "--trace", "run.txt"], "`--trace` must end in .json, .json.gz, got 'run.txt'"),
        (["--json", "same", "--csv", "./same"], "`--csv` must be another file than `--json`, got 'same'"),
        (["--against", "mobilenetv2_035", "--top", "3"], "`--top` does not go together with `--against`"),
        (["--batch-that-fits", "1GiB", "--no-count-padding"], "`--no-count-padding` does not go together with"),
        (["--against-arguments", "f32[3]"], "`--against-arguments` requires a function to compare with"),
    ],
)
def test_options_without_an_effect_are_refused(options, message, capsys):
    assert message in refused([*SMALL, *options], capsys)


def test_measuring_is_on_this_machine(capsys, monkeypatch):
    peak = cost.Peak("made up", {"float32": 1e9}, bytes=1e9, source="nowhere")
    asked = []
    monkeypatch.setattr(_devices, "measure_peak", lambda again=False: asked.append(again) or peak)
    monkeypatch.setattr(cost, "measure_peak", lambda again=False: asked.append(again) or peak)
    dot = ["cost", "jax.numpy:dot", "--arguments", "f32[64,64]", "f32[64,64]", "--by", "kind"]
    cli.main([*dot, "--measure", "--measure-peaks"])
    text = out(capsys)
    assert "measured share" in text
    assert "(call)" in text
    assert asked == [True, False]
