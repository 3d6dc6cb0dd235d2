"""`jds models` and `jds predict`, run in this process."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jds
from jds import cli
from jds.cli import _weights
from jds.models._imagenet import LABELS

NAME = "mobilenetv3_small_050"


def words(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_models_are_listed(capsys):
    cli.main(["models", "mobilenetv2_0*"])
    out = words(capsys)
    assert "network parameters mult-adds image size" in out
    assert "mobilenetv2_050 1,968,680 97.13M 224" in out
    assert "mobilenetv2_100" not in out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An image, and weights that classify every image as a great white shark."""
    folder = tmp_path_factory.mktemp("files")
    model = jds.create_model(NAME)
    model.classifier.kernel[...] = jnp.zeros_like(model.classifier.kernel[...])
    model.classifier.bias[...] = jnp.zeros(1000).at[2].set(10.0)
    jds.save_weights(model, folder / "weights.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    return folder


def test_an_image_is_classified(files, capsys, quick_compilation):
    image, weights = str(files / "image.png"), str(files / "weights.safetensors")
    cli.main(["predict", image, "--model", NAME, "--weights", weights, "--top", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].split(maxsplit=1) == ["95.66%", "great white shark"]
    assert len(set(LABELS)) == len(LABELS) == 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "weights.safetensors"}, "weights.safetensors': not an image in a format that Pillow can read"),
        ({"image": "none.png"}, "`IMAGE` must be a readable image file, got"),
        ({"image": "half.png"}, "`IMAGE` must be a readable image file, got"),
        ({"model": "mobilenetv3_smal_050"}, "`--model`: there is no 'mobilenetv3_smal_050'; did you mean mobilenetv3_"),
        ({"weights": "none.safetensors"}, "`--weights` must be a readable file, got"),
        (
            {"weights": "image.png"},
            "`--weights`: weights must be a .safetensors, .h5, .hdf5, .keras, .pth, .pt, .bin file",
        ),
        ({"model": "mobilenetv2_035"}, "does not match this network"),
        ({"top": "0"}, "`--top` must be positive, got 0"),
    ],
)
def test_wrong_arguments_say_what_to_do(change, message, files, capsys):
    whole = (files / "image.png").read_bytes()
    (files / "half.png").write_bytes(whole[: len(whole) // 2])
    given = {"image": "image.png", "model": NAME, "weights": "weights.safetensors", "top": "5"} | change
    paths = [str(files / given[name]) for name in ("image", "weights")]
    with pytest.raises(SystemExit) as exit:
        cli.main(["predict", paths[0], "--model", given["model"], "--weights", paths[1], "--top", given["top"]])
    assert exit.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    for name in change.values():
        assert said.count(name) <= 1


def predict(*words):
    """Runs `jds predict` and returns its exit status."""
    try:
        cli.main(["predict", *map(str, words)])
    except SystemExit as exit:
        return exit.code
    return 0


@pytest.fixture(scope="module")
def tuned(files):
    """The folder of a fine-tuned network that classifies every image as a bee."""
    folder = files / "tuned"
    folder.mkdir()
    model = jds.create_model(NAME, num_classes=3)
    model.classifier.kernel[...] = jnp.zeros_like(model.classifier.kernel[...])
    model.classifier.bias[...] = jnp.zeros(3).at[1].set(10.0)
    jds.save_weights(model, folder / "model.safetensors")
    config = {
        "architecture": NAME,
        "num_classes": 3,
        "label_names": ["ant", "b\x1b[31mee", "c\u00e9cidomyie"],
        "pretrained_cfg": {"input_size": [3, 64, 64]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_fine_tuned_network_knows_its_name_and_classes(files, tuned, capsys, quick_compilation):
    for weights in (tuned, tuned / "model.safetensors"):
        assert predict(files / "image.png", "--weights", weights) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(maxsplit=1)[1] for line in lines] == [r"b\x1b[31mee", "ant", "c\u00e9cidomyie"]
        assert lines[0].startswith(" 99.99%")


def test_a_loaded_network_is_in_evaluation_mode(tuned):
    model, labels = _weights.load(None, str(tuned), None, _weights.Words("predict", "", "", ""))
    norms = [module for _, module in nnx.iter_modules(model) if isinstance(module, nnx.BatchNorm)]
    assert norms
    assert all(norm.use_running_average for norm in norms)
    assert len(labels) == 3


def test_several_images_are_classified(files, tuned, capsys, quick_compilation):
    assert predict(files / "image.png", files / "image.png", "--weights", tuned, "--top", "1") == 0
    assert capsys.readouterr().out.splitlines() == 2 * [f"{files / 'image.png'}:", r" 99.99%  b\x1b[31mee"]


def test_classes_of_a_classifier_that_was_not_loaded_are_never_printed(files, tuned, tmp_path, capsys):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((tuned / "model.safetensors").read_bytes())
    for words in (("--weights", bare), ("--weights", tuned, "--num-classes", "10")):
        assert predict(files / "image.png", "--model", NAME, *words) == 2
        out, err = capsys.readouterr()
        assert not out
        assert "`--num-classes` must match the weights: " in err
        assert "has 3 classes, not 10" in err
        assert "Warning" not in err


def test_probabilities_that_are_not_numbers_are_never_printed(files, tmp_path, capsys, quick_compilation):
    model = jds.create_model(NAME)
    kernel = model.stem.conv.kernel
    kernel[...] = jnp.full_like(kernel[...], 1e38)
    jds.save_weights(model, tmp_path / "weights.safetensors")
    assert predict(files / "image.png", "--model", NAME, "--weights", tmp_path / "weights.safetensors") == 2
    out, err = capsys.readouterr()
    assert not out
    assert "produced NaN or infinity for '" in err
    assert "image.png'" in err


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            "{}",
            "`--model` is required, and must be a network listed by `jds models`: {} has no config.json that names one",
        ),
        (
            '{"architecture": "resnet50"}',
            "`--model` is required, and must be a network listed by `jds models`: {} names 'res",
        ),
        ('{"num_classes": 0}', "`--weights` must include a classifier; {} has none according to its config.json"),
        ('{"num_classes": [3]}', "`--weights`: {}/config.json: `num_classes` must be an int of at least 0, got [3]"),
    ],
)
def test_a_config_without_the_needed_fields_is_an_error(config, message, files, tmp_path, capsys):
    (tmp_path / "config.json").write_text(config)
    assert predict(files / "image.png", "--weights", tmp_path) == 2
    assert message.format(tmp_path) in " ".join(capsys.readouterr().err.split())


def test_a_pattern_that_matches_no_network_is_an_error(capsys):
    with pytest.raises(SystemExit):
        cli.main(["models", "resnet*"])
    assert "`PATTERN` matches none of the" in capsys.readouterr().err
