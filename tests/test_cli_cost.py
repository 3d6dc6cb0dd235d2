"""`jds cost`, run in this process."""

import csv
import json

import jax
import numpy as np
import pytest
from html_page import Page

from jds import cli, cost


def words(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_a_network_is_printed_layer_by_layer_with_its_files(capsys, tmp_path):
    names = ("record.json", "rows.csv", "page.html", "figure.svg")
    record, rows, page, figure = (tmp_path / name for name in names)
    files = ["--json", str(record), "--csv", str(rows), "--html", str(page), "--plot", str(figure)]
    cli.main(["cost", "mobilenetv1_100", "--device", "a100", *files])
    out = words(capsys)
    assert "mobilenetv1_100, 224×224, batch 1, forward" in out
    assert "stages/4/1/pointwise 51.38M 9.0 102.8M 1.05M" in out
    assert "total 568.7M" in out
    data = json.loads(record.read_text())
    assert data["schema"] == {"name": "jds.cost", "version": 4}
    assert data["total"]["counts"]["macs"] == 568_740_352
    with rows.open() as file:
        lines = list(csv.DictReader(file))
    assert sum(int(line["macs"]) for line in lines) == 568_740_352
    assert lines[0]["name"] == "stem/conv"
    assert "<svg" in figure.read_text()
    assert sum(line["expanded"] is None for line in Page(page.read_text(encoding="utf-8")).lines) == len(lines)
    assert {file.name for file in tmp_path.iterdir()} == set(names)


def test_a_sweep_writes_a_page_and_a_plot(capsys, tmp_path):
    page, figure = tmp_path / "page.html", tmp_path / "figure.svg"
    files = ["--html", str(page), "--plot", str(figure)]
    cli.main(["cost", "mobilenetv1_100", "--sweep", "width=0.25,0.5", "image_size=32", *files])
    lines = Page(page.read_text(encoding="utf-8")).lines
    assert [line["name"] for line in lines] == ["width 0.25, image_size 32", "width 0.5, image_size 32"]
    assert "<svg" in figure.read_text()


def test_a_comparison_writes_a_page(capsys, tmp_path):
    page = tmp_path / "page.html"
    cli.main(["cost", "mobilenetv1_100", "--against", "mobilenetv2_100", "--html", str(page)])
    assert "stages/6" in [line["name"] for line in Page(page.read_text(encoding="utf-8")).lines]


def test_the_gradient_is_printed_by_kind(capsys):
    cli.main(["cost", "mobilenetv1_100", "--image-size", "32", "--width", "0.25", "--grad", "--by", "kind"])
    out = words(capsys)
    assert all(f" {kind} " in out for kind in ("ordinary", "depthwise", "pointwise", "dense", "normalization"))
    assert "The backward pass has" in out


def test_a_function_is_counted_for_given_shapes(capsys):
    cli.main(["cost", "jax.numpy:dot", "--arguments", "float32[8,16]", "float32[16,4]"])
    out = words(capsys)
    assert "jax.numpy:dot(float32[8,16], float32[16,4])" in out
    assert "512 100 1024" in out


def test_dtypes_are_accepted_as_jax_prints_them(capsys):
    cli.main(["cost", "jax.numpy:dot", "--arguments", "f32[8,16]", "f32[16,4]"])
    assert "512 100 1024" in words(capsys)
    cli.main(["cost", "jax.numpy:square", "--arguments", "bf16[8]"])
    assert "total 8 0 0 8 0 16 16" in words(capsys)


def test_the_error_names_the_line_that_cannot_be_traced():
    def fun(x):
        return np.asarray(x)

    with pytest.raises(TypeError) as error:
        cost.analyze(fun, jax.ShapeDtypeStruct((3,), "float32"))
    line = fun.__code__.co_firstlineno + 1
    assert str(error.value).endswith(f"({__file__}:{line})")
    assert "arguments.py" not in str(error.value)


def test_a_lower_bound_is_marked_as_such(capsys):
    cli.main(["cost", "jax.numpy.linalg:eigh", "--arguments", "float32[4,4]"])
    out = words(capsys)
    assert "≥ " in out
    assert "Lower bound: no rule for eigh (1×)" in out


def test_loops_and_branches_are_explained():
    def fun(x):
        x = jax.lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x, x)
        return jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x + 1, x)

    notes = " ".join(cost.analyze(fun, jax.ShapeDtypeStruct((4, 4), "float32")).notes())
    assert "Conditional outside of all layers: branches of" in notes
    assert "Lower bound: `while` outside of all layers is counted as one iteration" in notes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobilnetv2_100"], "there is no 'mobilnetv2_100'; did you mean mobilenetv2_100, "),
        (["mobileone_s0", "--width", "2"], "`--width` does not apply to mobileone_s0"),
        (["mobilenetv1_100", "--arguments", "float32[3]"], "`--arguments` requires a function"),
        (["mobilenetv1_100", "--image-size", "0"], "`--image-size` must be positive, got 0"),
        (["no_such_module:f"], "'no_such_module:f' cannot be imported: No module named"),
        (["jax.numpy:no_such_function"], "cannot be imported"),
        (["jax.numpy:pi"], "must be a function, got float"),
        (
            ["jax.numpy:dot", "--arguments", "float32(8)"],
            "`--arguments` must have the form float32[8,16], name=float32[8,16] or key, got 'float32(8)'",
        ),
        (["jax.numpy:dot", "--arguments", "float31[8]"], "must start with a dtype"),
        (["jax.numpy:dot", "--arguments", "float32[8]", "float32[9]"], "dot cannot be traced with arguments"),
        (["jax.numpy:dot", "--arguments", "f31[8]"], "must start with a dtype"),
        (
            ["jax.numpy:square", "--arguments", "int32[3,3]", "--grad"],
            "`--grad` requires a floating-point argument to differentiate with respect to, got jax.numpy:square(int32[3,3])",
        ),
        (["jax.random:bits", "--arguments", "key", "--grad"], "`--grad` requires a floating-point argument"),
        (["jax.numpy:zeros"], "cannot be called with no `--arguments`: missing a required argument: 'shape'"),
        (["flax.nnx:Dropout", "--arguments", "f32[3]"], "must be a function or an instance, got the class Dropout"),
        (["jax.numpy:dot", "--batch", "2"], "`--batch` requires a network"),
        (["mobilenetv1_100", "--plot", "x.gif"], "`--plot` must end in .png, .svg, .pdf, got 'x.gif'"),
        (["mobilenetv1_100", "--json", "/no/such/folder/x.json"], "`--json` must be a writable file"),
    ],
)
def test_wrong_arguments_say_what_to_do(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["cost", *arguments])
    assert exit.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
