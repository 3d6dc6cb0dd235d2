"""`jds export`."""

import numpy as np
import pytest
from PIL import Image

import jds
from jds.cli import main
from jds.exporting._formats import format_of

NAME = "mobilenetv3_small_050"


@pytest.fixture
def weights(tmp_path):
    jds.save_weights(jds.create_model(NAME, num_classes=10), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_network_with_its_weights_is_written_as_by_the_function(weights, tmp_path, capsys, quick_compilation):
    options = ["--batch", "free", "--image-size", "64", "--normalize", "--softmax", "--opset", "13", "--layout", "NHWC"]
    main(["export", NAME, "--weights", str(weights), "--num-classes", "10", "--to", str(tmp_path / "a.onnx"), *options])
    text = capsys.readouterr().out
    assert "images uint8[batch,64,64,3]" in text
    assert "probabilities float32[batch,10]" in text
    assert "ONNX, opset 13" in text
    model = jds.create_model(NAME, weights, num_classes=10)
    wanted = {"batch": None, "image_size": 64, "normalize": True, "softmax": True, "opset": 13, "layout": "NHWC"}
    jds.export(model, tmp_path / "b.onnx", **wanted)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_photographs_are_compared_and_labels_stored(weights, tmp_path, capsys, quick_compilation):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(picture).resize((64, 64)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "config.json").write_text(
        '{"architecture": "mobilenetv3_small_050", "num_classes": 10, "label_names": '
        f"{[f'class {n}' for n in range(10)]}}}".replace("'", '"')
    )
    path = tmp_path / "a.onnx"
    main(
        ["export", NAME, "--weights", str(weights), "--to", str(path), "--check", str(tmp_path / "photos"), "--float16"]
    )
    assert "the same on 100.0% of 3 photographs" in capsys.readouterr().out
    described = format_of(path).open(path.read_bytes()).description
    assert described.name == NAME
    assert described.labels == tuple(f"class {n}" for n in range(10))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([NAME, "--to", "a.pt"], "`path` must end in .onnx, .tflite, "),
        (["mobilenetv3_smal", "--to", "a.onnx"], "there is no 'mobilenetv3_smal'; did you mean"),
        ([NAME, "--to", "no/such/a.onnx"], "`--to` must be a writable file, got 'no/such/a.onnx'"),
        ([NAME, "--to", "a.onnx", "--int8", "none"], "`--int8` must be a folder of photographs, got 'none'"),
        ([NAME, "--to", "a.onnx", "--opset", "3"], "`opset` must be from 11 to"),
        ([NAME, "--to", "a.jax", "--opset", "13"], "`opset` is for .onnx, not for `jax.export`"),
        ([NAME, "--to", "a.onnx", "--image-size", "0"], "`--image-size` must be positive, got 0"),
        ([NAME, "--to", "a.onnx", "--weights", "none.pth"], "`--weights`"),
        ([NAME, "--to", "page", "--runtime", "."], "`runtime` must be a folder with the npm package"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_mistakes_are_explained_and_leave_no_file(words, message, tmp_path, monkeypatch, capsys, unchecked_types):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["export", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
