"""The `jds` command, run in this process."""

import gc
import json
import subprocess
import sys

import pytest
from networks import small_zoo

import jds
from jds import cli, compare, cost
from jds._common import files

SHORT = ("--seconds", "0.001")


def words(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_without_arguments_it_walks_through_the_textbook_example(capsys):
    cli.main(["compare", *SHORT])
    out, err = capsys.readouterr()
    assert err == ""
    out = " ".join(out.split())
    for line in (
        "ordinary 3·3·3 = 27 × 4·4 = 16 × 5 = 2160",
        "depthwise 3·3 = 9 × 4·4 = 16 × 3 = 432",
        "pointwise 3 × 4·4 = 16 × 5 = 240",
        "separable: 432 + 240 = 672",
        "ratio: 672 / 2160 = 0.311 = 1/5 + 1/3²",
        "textbook 2160 672 0.311 4320 4320",
    ):
        assert line in out


def test_any_layer_is_compared(capsys):
    options = "--kernel-size 3x1 --strides 2 --padding 1 --kernel-dilation 1x2 --channel-multiplier 2 --batch 2"
    cli.main(["compare", "--input", "8x6x4", "--out-features", "6", *options.split(), *SHORT])
    out = words(capsys)
    assert "8×6×4 input, 6 filters of 3×1, strides 2, kernel dilation 1×2, channel multiplier 2, padding 1×1" in out
    assert "4×4×6 output, in a batch of 2" in out
    assert "= 2/6 + 2/(3·1)" in out


@pytest.mark.parametrize("size", ["16x4", "4x4x4x2"])
def test_layers_of_one_and_three_spatial_axes_are_compared(capsys, size):
    cli.main(["compare", "--input", size, "--out-features", "4", *SHORT])
    assert f"{size.replace('x', '×')} input, 4 filters of {'×'.join('3' * size.count('x'))}" in words(capsys)


def test_a_network_is_compared_with_its_record_and_figure(capsys, tmp_path):
    record, figure = tmp_path / "record.json", tmp_path / "figure.svg"
    options = ["--image-size", "32", "--width", "0.25", "--json", str(record), "--plot", str(figure)]
    with small_zoo():
        cli.main(["compare", "mobilenetv1_100", *options, *SHORT])
    out = words(capsys)
    assert "mobilenetv1_100, 32×32, width 0.25, batch 1" in out
    names = ["stem/conv", "stages/0/0", "stages/1/0", "stages/1/1", "stages/2/0", "stages/2/1", "classifier"]
    assert all(f" {name} " in out for name in (*names, "total"))
    rows = json.loads(record.read_text())["rows"]
    assert [row["layer"]["name"] for row in rows] == names
    assert "<svg" in figure.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"record.json", "figure.svg"}


def test_a_network_has_the_same_name_in_every_command(capsys, monkeypatch):
    # Only one layer of each, for speed.
    monkeypatch.setattr(compare, "network_layers", lambda *_: (cost.Layer("layer", (4, 4, 3), 2, (3, 3)),))
    with small_zoo():
        for name, size in (("mobilenetv1_100", 224), ("keras/Xception", 299), ("mobileone_s0", 224)):
            cli.main(["compare", name, *SHORT])
            assert f"{name}, {size}×{size}, batch 1" in words(capsys)
            cli.main(["cost", name])
            assert f"{name}, {size}×{size}, batch 1" in words(capsys)


def test_the_version_is_printed(capsys):
    cli.main(["--version"])
    assert capsys.readouterr().out == f"jds {jds.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--input 14", "`--input` must be HxWxC, such as 14x14x512 (LxC in 1D, DxHxWxC in 3D), got '14'"),
        ("--input 14x-1x3", "`--input` must be HxWxC, such as 14x14x512 (LxC in 1D, DxHxWxC in 3D), got '14x-1x3'"),
        ("--input 0x4x3", "`--input` must be HxWxC, such as 14x14x512 (LxC in 1D, DxHxWxC in 3D), got '0x4x3'"),
        (
            "--input 4x4x3",
            "`--input` requires `--out-features`, the number of filters, such as `--out-features 512`",
        ),
        ("--input 4x4x3 --out-features 0", "`--out-features` must be positive, got 0"),
        ("--out-features 5", "`--out-features` requires `--input`, for example `--input 14x14x512`"),
        ("--kernel-size 5", "`--kernel-size` requires `--input`, for example `--input 14x14x512`"),
        ("--image-size 32", "`--image-size` requires a network, for example `jds compare mobilenetv1_100`"),
        (
            "mobilenetv1_100 --input 4x4x3",
            "`--input` cannot be combined with the network mobilenetv1_100: it describes one layer",
        ),
        (
            "mobilenetv1_100 --padding SAME",
            "`--padding` cannot be combined with the network mobilenetv1_100: it describes one layer",
        ),
        ("mobilenetv1_100 --width 0", "`--width` must be positive, got 0.0"),
        (
            "mobilenet_v1",
            "there is no 'mobilenet_v1'; did you mean mobilenetv1_100, mobilenetv1_125, keras/MobileNetV2?",
        ),
        ("mobileone_s0 --width 2", "`--width` does not apply to mobileone_s0: "),
        ("--batch 0", "`--batch` must be positive, got 0"),
        ("--seconds inf", "`--seconds` must be positive, got inf"),
        (
            "--input 4x4x3 --out-features 2 --kernel-size 3x3x3",
            "`--kernel-size` must be one positive number, such as 3, or one for each of the 2 spatial axes of `--input`, "
            "such as 3x3, got '3x3x3'",
        ),
        (
            "--input 4x4x3 --out-features 2 --padding FULL",
            "`--padding` must be SAME, SAME_LOWER, VALID or a number, such as 1, got 'FULL'",
        ),
        (
            "--input 2x2x3 --out-features 2 --padding VALID",
            "the output would be empty, (0, 0, 2): input_size=(2, 2, 3) with padding 'VALID' is smaller than a kernel "
            "of size (3, 3), dilated by (1, 1); use a larger input, more padding or a smaller kernel",
        ),
        ("--plot figure.gif", "`--plot` must end in .png, .svg, .pdf, got 'figure.gif'"),
        ("--json /dev/null", "`--json` must name a regular file, got the device or pipe '/dev/null'"),
        ("--json .", "`--json` must name a file, got the directory '.'"),
        (
            "--json missing/record.json",
            "`--json` must be a writable file, got 'missing/record.json': No such file or directory",
        ),
    ],
    ids=lambda value: value if value.startswith(("-", "mobilenet")) else "",
)
def test_errors_come_before_the_measurement(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(compare, "compare_layer", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(SystemExit) as exit:
        cli.main(["compare", *arguments.split()])
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    if message.endswith(": "):  # followed by Python's own message
        assert err.startswith(f"jds compare: {message}")
    else:
        assert err == f"jds compare: {message}\n"


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, capsys):
    path = tmp_path / "record.json"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(SystemExit) as exit:
        cli.main(["compare", *SHORT, "--json", str(path)])
    assert exit.value.code == 2
    assert "got '" + str(path) + "': No space left on device" in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("record.json", "old")]


def test_help_compiles_nothing_and_does_not_import_matplotlib():
    program = (
        "import sys, jax, jds.cli\n"
        "jax.config.update('jax_log_compiles', True)\n"
        "try: jds.cli.main(['compare', '--help'])\n"
        "except SystemExit as exit: print('status', exit.code, 'matplotlib' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--input HxWxC" in run.stdout
    assert run.stdout.endswith("status 0 False\n")
    assert "Compiling" not in run.stderr


def test_imports_are_not_searched_for_garbage():
    program = "import gc, sys, jds.cli; sys.argv = ['jds', '--version']; jds.cli.main(); print(gc.get_freeze_count())"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout.split()[-1]) > 100_000
    gc.collect()
    before = gc.get_freeze_count()
    cli.main(["--version"])
    assert gc.get_freeze_count() == before
