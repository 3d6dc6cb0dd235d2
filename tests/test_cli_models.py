"""`jds models` and `jds predict`, run in this process."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jds
from jds import cli
from jds.imagenet import LABELS

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
    """An image and weights that see a great white shark in all images."""
    folder = tmp_path_factory.mktemp("files")
    model = jds.create_model(NAME)
    model.classifier.kernel[...] = jnp.zeros_like(model.classifier.kernel[...])
    model.classifier.bias[...] = jnp.zeros(1000).at[2].set(10.0)
    jds.save(model, folder / "weights.safetensors")
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
        ({"image": "weights.safetensors"}, "`IMAGE` must be an image file, got"),
        ({"image": "none.png"}, "`IMAGE` must be an image file that can be read, got"),
        ({"image": "half.png"}, "`IMAGE` must be an image file that can be read, got"),
        ({"model": "mobilenetv3_smal_050"}, "`--model`: there is no 'mobilenetv3_smal_050'; did you mean mobilenetv3_"),
        ({"weights": "none.safetensors"}, "`--weights` must be a file that can be read, got"),
        ({"weights": "image.png"}, "`--weights`: weights must be a .safetensors, .h5 or .weights.h5 file"),
        ({"model": "mobilenetv2_035"}, "is not of this network"),
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
    assert message in " ".join(capsys.readouterr().err.split())


def test_no_network_has_such_a_name(capsys):
    with pytest.raises(SystemExit):
        cli.main(["models", "resnet*"])
    assert "`PATTERN` fits none of the" in capsys.readouterr().err
