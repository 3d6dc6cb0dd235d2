"""`jds evaluate`, run in this process."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jds
from jds import cli

NAME = "mobilenetv3_small_050"
LABELS = ["ant", "bee", "cicada"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Networks that classify every image as an ant or as a bee, one as a file, and 5 images of ants and bees."""
    root = tmp_path_factory.mktemp("files")
    generator = np.random.default_rng(0)
    for number in range(5):
        path = root / "photos" / LABELS[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 30, 3), np.uint8)).save(path)
    for place, name in enumerate(("before", "after")):
        folder = root / name
        folder.mkdir()
        model = jds.create_model(NAME, num_classes=3)
        model.classifier.kernel[...] = jnp.zeros_like(model.classifier.kernel[...])
        model.classifier.bias[...] = jnp.zeros(3).at[place].set(10.0)
        jds.save_weights(model, folder / "model.safetensors")
        config = {"architecture": NAME, "num_classes": 3, "pretrained_cfg": {"input_size": [3, 32, 32]}}
        (folder / "config.json").write_text(json.dumps(config | {"label_names": LABELS}))
    jds.export(jds.create_model(NAME, root / "after", num_classes=3), root / "after.onnx")
    (root / "bare.safetensors").write_bytes((root / "after" / "model.safetensors").read_bytes())
    (root / "no.onnx").write_bytes(b"no model")
    (root / "one" / "ant").mkdir(parents=True)
    (root / "one" / "wasp").mkdir()
    Image.new("RGB", (9, 9)).save(root / "one" / "ant" / "0.png")
    return root


def evaluate(*words):
    """Runs `jds evaluate` and returns its exit status."""
    try:
        cli.main(["evaluate", *map(str, words)])
    except SystemExit as exit:
        return exit.code
    return 0


def rows(text):
    return {line.split("  ")[0].strip(): line.split("  ", 1)[1] for line in text.splitlines() if "  " in line.strip()}


def test_networks_and_files_stand_side_by_side(files, capsys, tmp_path, quick_compilation):
    record = tmp_path / "record.json"
    words = [f"{NAME}={files / 'before'}", files / "after", files / "after.onnx", "--data", files / "photos"]
    assert evaluate(*words, "--json", record) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0].split() == [f"{NAME}=before", "after", "after.onnx"]
    found = rows(out)
    assert [word for word in found["top 1"].split() if "%" in word] == ["60.00%", "40.00%", "40.00%"]
    assert found["same top 1 as first"].split() == ["0.00%", "0.00%"]
    assert found["newly right, wrong"].split() == ["2,", "3", "2,", "3"]
    assert found["ant"].split() == ["3", "100.00%", "0.00%", "0.00%"]
    assert found["ant/0.png"].split() == ["ant", "ant", "100%", "bee", "100%", "bee", "100%"]
    assert "5 images of 2 of the 3 classes, which the folders were matched to by label." in out
    data = json.loads(record.read_text())
    assert data["schema"] == {"name": "jds.evaluation", "version": 1}
    assert [model["name"] for model in data["models"]] == out.splitlines()[0].split()
    assert [model["top_1"]["part"] for model in data["models"]] == [3, 2, 2]


def test_a_name_alone_takes_its_weights_from_the_option(files, capsys, quick_compilation):
    words = ["--num-classes", "3", "--data", files / "photos" / "ant", "--show", "0"]
    assert evaluate(NAME, "--weights", files / "bare.safetensors", *words) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == [NAME]
    assert "3 images without classes" in out


def test_models_of_the_same_short_name_are_named_in_full(files, capsys, quick_compilation):
    names = [str(files / folder / "model.safetensors") for folder in ("before", "after")]
    assert evaluate(*names, "--data", files / "photos", "--show", "2", "--limit", "4") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == names
    assert "Images on which the models differ: 4 of 4, of which the 2 that the first one is surest of:" in " ".join(
        out.split()
    )
    assert sum(line.startswith(("ant/", "bee/")) for line in out.splitlines()) == 2
    assert "A random sample of 4 of the 5 images" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "`MODEL` must be at least one file (.onnx"),
        ("{}/after.onnx {}/after.onnx", "`MODEL` must name each model once, got"),
        ("{}/no.onnx", "no.onnx' is damaged, or is no .onnx file: "),
        ("{}/none.onnx", "`MODEL` must be a readable file, got '{}/none.onnx': No such file or directory"),
        ("{}/after.onnx --data {}/none", "`--data`: the images must be in a folder, got no such folder, '{}/none'"),
        ("{}/after.onnx --data {}/after", "`--data`: '{}/after' must have images"),
        ("{}/after.onnx --data {}/photos/ant/0.png", "`--data`: the images must be in a folder, got the file"),
        ("{}/after.onnx --limit 0", "`--limit` must be positive, got 0"),
        ("{}/after.onnx --show -1", "`--show` must be 0 or more, got -1"),
        ("{}/after.onnx --json {}", "`--json` must name a file, got the directory"),
        ("{}/after.onnx --weights x", "`--weights` is for one network that is given by its NAME alone, got none"),
        (f"{NAME} mobilenetv2_100 --weights x", f"given by its NAME alone, got {NAME} mobilenetv2_100; write NAME=FILE"),
        ("{}/after.onnx", "'{}/photos': there are 2 folders ('ant', 'bee') for 3 classes"),
        (NAME, f"`MODEL` needs weights: {NAME}=FILE, or `--weights FILE`"),
        ("mobilenetv3_smal_050", "`MODEL`: there is no file or network 'mobilenetv3_smal_050'; did you mean mobilenetv3_"),
        ("mobilenetv3_smal_050={}/after", "`MODEL`: there is no 'mobilenetv3_smal_050'; did you mean mobilenetv3_"),
        (f"{NAME}={{}}/none.safetensors", "`MODEL` must be a readable file, got "),
        ("mobilenetv2_035={}/after", "does not match this network"),
        ("{}/bare.safetensors", "`MODEL` must be NAME=FILE, with a network listed by `jds models`: {}/bare.safetensors has no"),
        (f"{NAME}={{}}/bare.safetensors", "`--num-classes` must match the weights: "),
        ("{}/after --data {}/one", "'{}/one': 1 of the 2 folders are named after no class, or more than one: 'wasp'"),
    ],
)  # fmt: skip
def test_wrong_arguments_say_what_to_do(words, message, files, capsys, quick_compilation):
    words = words.replace("{}", str(files)).split()
    assert evaluate(*words, *([] if "--data" in words else ["--data", files / "photos"])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message.replace("{}", str(files)) in " ".join(err.split())
    assert err.startswith("jds evaluate: ")
