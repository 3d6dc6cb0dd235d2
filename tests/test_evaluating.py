"""`jds.evaluate`: exact counts, the matching of folders and classes, and its errors."""

import dataclasses
import json
import math
import time
from pathlib import Path

import jax
import numpy as np
import onnx
import pytest
from flax import nnx
from networks import SMALLEST
from PIL import Image

import jds
from jds.evaluating import Change, Share
from jds.evaluating._classes import match
from jds.evaluating._contender import of_file
from jds.evaluating._evaluate import run
from jds.evaluating._folder import read
from jds.models.pictures import open_image

CLASSES = 7
LABELS = [f"Sort {number}, of thing" for number in range(CLASSES)]


def classifier(seed, name="mobilenetv2_035"):
    """A small network that tells the images of `folder` apart, though not by their class."""
    model = jds.create_model(name, num_classes=CLASSES, rngs=nnx.Rngs(seed), **SMALLEST[name])
    model.preprocessing = dataclasses.replace(model.preprocessing, image_size=32)
    model.eval()
    images = model.preprocess([Image.fromarray(pixels) for pixels in pixels_of(50, seed=1)])
    kernel = model.classifier.kernel
    kernel[...] = jax.random.normal(jax.random.key(seed), kernel.shape)
    model.classifier.bias[...] = -nnx.jit(type(model).__call__)(model, images).mean(0)
    return model


def pixels_of(count, seed=0):
    generator = np.random.default_rng(seed)
    colors = generator.integers(0, 256, (count, 2, 2, 3)).astype(np.uint8)
    return [each.repeat(20, 0).repeat(25, 1) for each in colors]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """23 images in 4 of the 7 classes, and a damaged one."""
    root = tmp_path_factory.mktemp("images")
    for number, pixels in enumerate(pixels_of(23)):
        path = root / f"sort_{number % 4 + 1}" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    (root / "sort_2" / "00.png").write_bytes(b"damaged")
    (root / "sort_2" / "notes.txt").touch()
    (root / "sort_2" / ".hidden.png").touch()
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory, folder):
    """A network, the same one exported for pixels and batches of 4, and another one with a free batch."""
    root = tmp_path_factory.mktemp("models")
    first, second = classifier(0), classifier(1)
    jds.export(first, root / "same.onnx", normalize=True, softmax=True, layout="NHWC", batch=4, labels=LABELS)
    jds.export(second, root / "other.onnx", batch=None)
    return {"jax": first, "same": root / "same.onnx", "other": root / "other.onnx"}, second


def test_counts_are_those_of_a_plain_computation(folder, models):
    named, second = models
    evaluation = jds.evaluate(named, folder, batch=2)
    files = sorted(file for file in folder.glob("*/[0-9]*.png") if file.read_bytes() != b"damaged")
    assert evaluation.images == tuple(file.relative_to(folder).as_posix() for file in files)
    assert [column.batch for column in evaluation.columns.values()] == [2, 4, 2]
    # In turns of 16 images and of the other 7, half of the runs are timed.
    assert [len(column.seconds) for column in evaluation.columns.values()] == [4 + 2, 2 + 1, 4 + 2]

    truth = np.array([int(file.parent.name[-1]) for file in files])
    logits = {}
    for name, model in (("jax", named["jax"]), ("same", named["jax"]), ("other", second)):
        images = model.preprocess([open_image(file) for file in files])
        logits[name] = np.asarray(nnx.jit(type(model).__call__)(model, images))
    said = {name: values.argmax(1) for name, values in logits.items()}
    assert len({*said["jax"]}) > 3  # a network that always says the same would hide mistakes
    for name, values in logits.items():
        right = said[name] == truth
        rank = (values > values[np.arange(len(truth)), truth][:, None]).sum(1)
        assert evaluation.accuracy(name) == (right.sum(), 23)
        assert evaluation.accuracy(name, 5) == ((rank < 5).sum(), 23)
        assert evaluation.agreement(name) == ((said[name] == said["jax"]).sum(), 23)
        gained, lost = (right & (said["jax"] != truth)).sum(), (~right & (said["jax"] == truth)).sum()
        assert evaluation.change(name) == (gained, lost)
        shares = np.exp(values) / np.exp(values).sum(1, keepdims=True)
        np.testing.assert_allclose(evaluation.columns[name].probabilities[:, 0], shares.max(1), rtol=1e-4)
    assert evaluation.differing().tolist() == np.flatnonzero(said["jax"] != said["other"]).tolist()
    assert 0 < len(evaluation.differing()) < 23
    assert evaluation.accuracy("jax") != evaluation.accuracy("other")

    assert evaluation.notes[0] == "Ignored: 1 file that does not end like an image."
    assert evaluation.notes[1] == "1 of 24 images cannot be read, and are left out:"
    assert "sort_2/00.png': not an image in a format that Pillow can read" in evaluation.notes[2]
    record = json.loads(json.dumps(evaluation.to_dict()))
    assert [image["predictions"][2]["classes"][0] for image in record["images"]] == said["other"].tolist()
    assert [image["class"] for image in record["images"]] == truth.tolist()
    assert [model["top_1"]["part"] for model in record["models"]] == [(said[name] == truth).sum() for name in said]


def test_a_sample_is_a_part_of_all_images_and_the_same_every_time(folder, models):
    named, _ = models
    whole, part, again = (jds.evaluate(named["same"], folder, limit=limit) for limit in (None, 9, 9))
    assert part.images == again.images
    assert len(part.images) + ("00.png" in str(part.notes)) == 9
    assert part.truth is not None
    assert len({*part.truth.tolist()}) > 1
    where = [whole.images.index(image) for image in part.images]
    np.testing.assert_array_equal(part.columns["same.onnx"].top, whole.columns["same.onnx"].top[where])


def test_images_without_classes_are_compared_all_the_same(folder, models):
    named, _ = models
    evaluation = jds.evaluate([named["same"], named["other"]], folder / "sort_3")
    assert evaluation.truth is None
    assert evaluation.agreement("other.onnx").whole == len(evaluation.images) == 6
    with pytest.raises(ValueError, match="have no classes"):
        evaluation.accuracy("same.onnx")
    text = str(evaluation)
    assert "6 images without classes, so accuracy is not known" in text
    assert "\ntop 1" not in text


def test_a_report_has_the_classes_and_what_the_first_model_is_surest_of(folder, models):
    named, _ = models
    evaluation = jds.evaluate(named, folder)
    lines = str(evaluation).splitlines()
    assert sum(line.startswith("Sort ") for line in lines) == 4
    places = evaluation.differing()
    surest = max(places.tolist(), key=lambda place: evaluation.columns["jax"].probabilities[place, 0])
    (title,) = (number for number, line in enumerate(lines) if line.startswith("Images on which the models differ: "))
    assert lines[title].split(": ")[1].startswith(f"{len(places)} of 23")
    assert lines[title + 3].startswith(evaluation.images[surest])
    # Of a single model, its mistakes.
    text = str(jds.evaluate(named["same"], folder))
    assert f"Images that are classified incorrectly: {23 - evaluation.accuracy('same').part} of 23" in text
    assert "most often taken for" in text


def test_shares_and_p_values_are_those_of_the_textbook():
    low, high = Share(30, 40).interval()
    # Wilson's interval has the shares whose standard score is 1.96 at its ends.
    for end in (low, high):
        assert abs(0.75 - end) / math.sqrt(end * (1 - end) / 40) == pytest.approx(1.959964, rel=1e-5)
    assert Change(2, 9).p_value() == pytest.approx(2 * sum(math.comb(11, k) for k in range(3)) / 2**11)
    assert Change(0, 0).p_value() == 1


@pytest.mark.parametrize(
    ("folders", "labels", "count", "numbers", "by"),
    [
        (["dog", "tiger_cat"], ["Tiger cat, Felis", "dog"], 2, (1, 0), "label"),
        (["cat"], ["Cat", "cat", "dog"], 3, (1,), "label"),
        (["jack-o-lantern"], ["lantern", "jack-o'-lantern"], 2, (1,), "label"),
        (["1", "2"], ["0", "2", "1"], 3, (2, 1), "label"),
        (["+", "-"], ["-", "+"], 2, (1, 0), "label"),
        (["0", "007", "11"], [], 12, (0, 7, 11), "number"),
        (["n01440764", "n01443537"], ["tench", "goldfish"], 2, (0, 1), "sorted order"),
        (["1", "10", "2"], [], 3, (0, 1, 2), "sorted order"),
    ],
)
def test_folders_are_matched_to_classes(folders, labels, count, numbers, by):
    assert match(folders, dict(enumerate(labels)), count) == (numbers, by)


@pytest.mark.parametrize(
    ("folders", "labels", "count", "message"),
    [
        (["cat", "dgo"], ["cat", "dog", "ant"], 3, "1 of the 2 folders are named after no class, .*'dgo'; did you mean 'dog'?"),
        (["cat", "x"], ["cat", "dog"], 2, "'x'; the labels are 'cat', 'dog'"),
        (["cat", "crane"], ["crane", "crane", "cat"], 3, "no class, or more than one: 'crane'"),
        (["Cat", "cat"], ["cat"], 1, r"the folders 'Cat', 'cat' are the same class, 0 \(cat\); join them"),
        (["1", "01"], [], 3, "the same class, 1; join them"),
        (["a", "b"], [], 3, r"there are 2 folders \('a', 'b'\) for 3 classes. .*labels, which are not known here or its number from 0 to 2"),
        (["train", "val"], ["x", "y", "z"], 3, r"its labels \('x', 'y', 'z'\)"),
    ],
)  # fmt: skip
def test_folders_that_are_not_classes_are_errors(folders, labels, count, message):
    with pytest.raises(ValueError, match=message):
        match(folders, dict(enumerate(labels)), count)


def changed(models, path, change):
    """Copies an exported file with other metadata."""
    graph = onnx.load(models[0]["same"])
    entries = {entry.key: entry.value for entry in graph.metadata_props}
    onnx.helper.set_model_props(graph, change(entries))
    onnx.save(graph, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: {}, "does not say how images become its input: write it with `jds.export`"),
        (lambda entries: entries | {"output": "features"}, "returns feature maps, not classes"),
        (lambda entries: entries | {"image_size": "16"}, "cannot be run: "),
        (lambda entries: entries | {"labels": json.dumps(8 * ["x"])}, "has 7 classes, got 8 labels"),
        (
            lambda entries: entries | {"labels": json.dumps(LABELS[::-1])},
            "the same classes, in the same order, got 'Sort 6, of thing' as class 6 of same.onnx and class 0 of file.onnx",
        ),
    ],
)
def test_files_that_cannot_be_evaluated_say_why(change, message, folder, models, tmp_path):
    path = changed(models, tmp_path / "file.onnx", change)
    with pytest.raises(ValueError, match=r"^evaluate: ") as error:
        jds.evaluate([models[0]["same"], path], folder)
    assert message in str(error.value)


def test_models_that_cannot_be_evaluated_say_why(folder, models, tmp_path):
    named, _ = models
    (tmp_path / "no.onnx").write_bytes(b"no model")
    broken = classifier(0)
    broken.classifier.bias[...] = broken.classifier.bias[...] + np.float32(np.nan)
    bare = classifier(0)
    bare.preprocessing = None
    for wrong, kind, message in (
        (tmp_path / "no.onnx", ValueError, "no.onnx' is damaged, or is no .onnx file: "),
        (tmp_path / "none.onnx", OSError, "No such file"),
        (tmp_path / "file.txt", ValueError, "file.txt' must end in .onnx, .tflite, .jax"),
        (broken, ValueError, "sort_1/0[0-9].png'"),
        (bare, ValueError, "the preprocessing of mobilenetv2_035 is not known"),
        (jds.create_model("mobilenetv3_small_050", num_classes=0), ValueError, "has no classifier"),
        (jds.create_model("mobilenetv3_small_050"), ValueError, "7 of same.onnx and 1000 of mobilenetv3_small_050"),
        (3, TypeError, "must be networks of `jds.models` or paths, got <class 'int'>"),
        (named["same"], ValueError, "pass a mapping of names to models"),
    ):
        with pytest.raises(kind, match=message):
            jds.evaluate([named["same"], wrong], folder)
    for options in ({"limit": 0}, {"batch": 0}, {"labels": ["a"]}):
        with pytest.raises(ValueError, match=f"`{next(iter(options))}` must"):
            jds.evaluate(named, folder, **options)
    with pytest.raises(ValueError, match="at least one"):
        jds.evaluate([], folder)


def test_folders_without_images_say_what_is_needed(models, tmp_path):
    named, _ = models
    (tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "x.png").touch()
    for name, message in (
        ("none", "the images must be in a folder, got no such folder, '.*none'"),
        ("damaged/x.png", "got the file '.*x.png'"),
        ("empty", r"must have images \(.bmp, .*\), in one folder for each class or all together, got none"),
        ("deep", "got 1 folders without any: train; do you mean '.*train'?"),
        ("damaged", "none of the 1 images can be read, such as '.*x.png'"),
    ):
        with pytest.raises(ValueError, match=message):
            jds.evaluate(named, Path(tmp_path) / name)


def test_times_are_per_image(folder, models):
    contender = of_file("file", models[0]["same"], 1, {})
    slow = dataclasses.replace(contender, run=lambda images: (time.sleep(0.2), contender.run(images))[1])
    (column,) = run([slow], read(folder), limit=4).columns.values()
    assert 0.05 < column.time().median < 0.2


def test_the_image_that_gives_no_numbers_is_named(folder, models):
    contender = of_file("file", models[0]["same"], 1, {})
    photographs = read(folder / "sort_3")
    wrong = photographs.files[5]
    (pixels,) = contender.prepare([open_image(wrong)])

    def broken(images):
        return np.where((images == pixels).all((1, 2, 3))[:, None], np.nan, contender.run(images))

    with pytest.raises(ValueError, match=f"file returned NaN or infinity for '.*{wrong.name}'"):
        run([dataclasses.replace(contender, run=broken)], photographs)


def test_given_labels_win(folder, models):
    labels = ["sort_4", "sort_3", "sort_2", "sort_1", "a", "b", "c"]
    evaluation = jds.evaluate(models[0]["same"], folder, labels=labels)
    assert evaluation.truth is not None
    assert [labels[number] for number in evaluation.truth] == [image.split("/")[0] for image in evaluation.images]


@pytest.mark.parametrize(("ending", "runtime"), [("tflite", "LiteRT "), ("jax", "JAX ")])
def test_files_of_every_runtime_are_evaluated(ending, runtime, folder, models, tmp_path):
    if ending == "tflite":
        pytest.importorskip("litert_converter", reason="the extra `litert` is not installed")
    jds.export(models[0]["jax"], tmp_path / f"same.{ending}", labels=LABELS, batch=2)
    (column, *_) = columns = [*jds.evaluate([tmp_path / f"same.{ending}", models[0]["jax"]], folder).columns.values()]
    assert column.runtime.startswith(runtime)
    assert [column.batch for column in columns] == [2, 1]
    np.testing.assert_array_equal(column.top, columns[1].top)
