"""Files in int8 and float16."""

import jax
import numpy as np
import pytest
from exported import network
from networks import SMALLEST
from PIL import Image

import jds
from jds.exporting._description import Description
from jds.exporting._layers import find_layers, select
from jds.exporting._options import Options
from jds.exporting._prepare import prepare

ENDINGS = ["onnx", "tflite"]
SMALL = network("mobilenetv2_035", num_classes=10)
# Smooth, as photographs are.
RNG = np.random.default_rng(0)
PHOTOGRAPHS = [
    np.asarray(Image.fromarray(RNG.integers(0, 256, (6, 8, 3), np.uint8)).resize((96, 80), Image.Resampling.BICUBIC))
    for _ in range(6)
]


@pytest.fixture(autouse=True)
def as_users_call(unchecked_types, request):
    if "tflite" in request.node.name:
        pytest.importorskip("litert_converter", reason="the extra `litert` is not installed")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("ending", ENDINGS)
def test_int8_is_near_float_and_layers_can_be_kept(ending, tmp_path, quick_compilation):
    plain = jds.export(SMALL, tmp_path / f"float.{ending}", image_size=96)
    options = {"image_size": 96, "int8": PHOTOGRAPHS}
    report = jds.export(SMALL, tmp_path / f"a.{ending}", **options)
    assert report.bytes < 0.7 * plain.bytes
    assert report.check.error < 0.2
    assert report.check.agreement >= 0.5
    assert report.in_float == {}
    # All layers are reported, and are worse alone than at float32's own precision.
    layers = [layer.name for layer in prepare(SMALL, (), Options(image_size=96)).layers]
    assert sorted(report.rounding) == sorted(layers)
    ratios = list(report.rounding.values())
    assert ratios == sorted(ratios)
    assert 10 < ratios[0] < ratios[-1] < 100
    worst = next(iter(report.rounding))
    kept = jds.export(SMALL, tmp_path / f"b.{ending}", **options, keep_float=[worst])
    kinds = {"Conv", "Gemm", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert sum(count for kind, count in kept.in_float.items() if kind in kinds) == 1
    assert kept.check.error < 0.2
    everything = jds.export(
        SMALL, tmp_path / f"c.{ending}", **options, keep_float=["stem", "stages", "head", "classifier"]
    )
    assert everything.check.error < 0.02
    assert "dB with" in str(report)


# The networks with forms of their own: gates, attention, kernels of several sizes, norms of layers.
FORMS = ["mobilenetv3_small_050", "mobilenetv4_hybrid_medium_075", "mixnet_s", "convnext_atto"]


@pytest.mark.parametrize(
    ("name", "ending"), [*((name, "onnx") for name in FORMS), *((name, "tflite") for name in SMALLEST)]
)
def test_every_family_is_near_float(name, ending, tmp_path, quick_compilation):
    report = jds.export(network(name), tmp_path / f"a.{ending}", image_size=32, int8=PHOTOGRAPHS[:2])
    assert report.check.error < 0.3


@pytest.mark.parametrize("ending", [*ENDINGS, "jax"])
def test_float16_halves_the_file(ending, tmp_path, quick_compilation):
    plain = jds.export(SMALL, tmp_path / f"float.{ending}", image_size=64)
    report = jds.export(SMALL, tmp_path / f"a.{ending}", image_size=64, float16=True)
    assert report.bytes < 0.7 * plain.bytes
    assert 1e-6 < report.check.error < 5e-3


def test_a_folder_of_photographs_is_read(tmp_path, quick_compilation):
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number, photograph in enumerate(PHOTOGRAPHS):
        Image.fromarray(photograph).save(tmp_path / "photos" / ("more" if number % 2 else "") / f"{number}.png")
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    report = jds.export(SMALL, tmp_path / "a.onnx", image_size=32, check=tmp_path / "photos")
    assert report.check.inputs == "6 photographs"
    assert report.check.agreement == 1
    assert report.check.input_error == 0


def test_a_file_that_says_something_else_about_its_input_shows_it(tmp_path, monkeypatch, quick_compilation):
    plain = Description.entries

    def wrong(self):
        return plain(self) | {"std": "[0.5, 0.5, 0.5]"}

    monkeypatch.setattr(Description, "entries", wrong)
    report = jds.export(SMALL, tmp_path / "a.onnx", image_size=32, int8=PHOTOGRAPHS, check=PHOTOGRAPHS)
    assert report.check.input_error > 0.1
    assert "from the model's, prepared as the file says" in str(report)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "neighboring pixels correlate by", {"int8": [RNG.integers(0, 256, (96, 96, 3), np.uint8)]}),
        (ValueError, "these images look made up", {"int8": [np.zeros((96, 96, 3), np.uint8)]}),
        (TypeError, "`int8` must be photographs: a folder, or images, got True", {"int8": True}),
        (TypeError, "`int8` must be photographs", {"int8": []}),
        (FileNotFoundError, "`int8` names a folder that does not exist", {"int8": "no/such/folder"}),
        (ValueError, "`int8` names a folder without images", {"int8": "."}),
        (ValueError, "`keep_float` names no layer 'stage'; the layers are stem/conv, ", {"int8": PHOTOGRAPHS, "keep_float": ["stage"]}),
        (TypeError, "`keep_float` must be a sequence of names", {"int8": PHOTOGRAPHS, "keep_float": "stem"}),
        (ValueError, "`keep_float` names the layers that int8=photographs", {"keep_float": ["stem"]}),
        (ValueError, "`float16` and `int8` exclude each other", {"int8": PHOTOGRAPHS, "float16": True}),
        (ValueError, "`labels` must name each of the network's 10 classes, in order, got 3 names", {"labels": ["a", "b", "c"]}),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_mistakes_are_explained(error, message, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        jds.export(SMALL, "a.onnx", image_size=96, **options)
    assert not [*tmp_path.iterdir()]


def test_int8_of_a_function_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`int8` is for networks"):
        jds.export(jax.nn.relu, tmp_path / "a.onnx", np.ones((1, 8)), int8=PHOTOGRAPHS)


def test_layers_have_names_of_their_own():
    prepared = prepare(SMALL, (), Options(image_size=64))
    names = [layer.name for layer in prepared.layers]
    assert len(set(names)) == len(names)
    assert names[:3] == ["stem/conv", "stages/0/0/depthwise", "stages/0/0/pointwise"]
    assert [layer.name for layer in select(prepared.layers, ["stages/0"], "keep_float")] == names[1:3]

    def twice(x):
        return x @ np.ones((4, 3)) @ np.ones((3, 2))

    jaxpr = jds.expand_jaxpr(jax.make_jaxpr(twice)(np.ones((1, 4))))
    _, layers = find_layers(jaxpr, 0)
    assert [(layer.name, layer.features) for layer in layers] == [("dense_0", (1,)), ("dense_1", (1,))]
