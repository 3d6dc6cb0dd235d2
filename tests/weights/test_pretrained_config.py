"""The `config.json` of weights: timm's old and new formats, and errors that name what is wrong."""

import dataclasses
import json

import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import jds
from jds import zoo
from jds.models import _preprocessing
from jds.models._preprocessing import HALF, IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from jds.weights import _files, _pretrained_config
from jds.weights._pretrained_config import PretrainedConfig, parse, to_timm

NAME = "mobilenetv3_small_050"

# As timm 1.0.31 writes it for tf_efficientnet_b5.ap_in1k, whose mean differs from the default for this name.
TF_B5_AP = {
    "architecture": "tf_efficientnet_b5",
    "num_classes": 1000,
    "num_features": 2048,
    "global_pool": "avg",
    "pretrained_cfg": {
        "tag": "ap_in1k",
        "custom_load": False,
        "input_size": [3, 456, 456],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 0.934,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 1000,
        "pool_size": None,
        "first_conv": "conv_stem",
        "classifier": "classifier",
    },
}


def parsed(config):
    return parse(json.dumps(config).encode(), "config.json")


def test_the_formats_of_timm_are_read():
    wanted = PretrainedConfig("tf_efficientnet_b5", 1000, {}, Preprocessing(456, 0.934, "bicubic", HALF, HALF))
    assert parsed(TF_B5_AP) == wanted
    # Before 2023, all fields were at the top level; the test size is not the input size.
    flat = TF_B5_AP["pretrained_cfg"] | {"architecture": "tf_efficientnet_b5", "test_input_size": [3, 528, 528]}
    assert parsed(flat) == wanted


def test_missing_fields_have_the_defaults_of_timm():
    usual = Preprocessing(224, 0.875, "bicubic", IMAGENET_MEAN, IMAGENET_STD, "center")
    assert parsed({"pretrained_cfg": {"crop_mode": None, "input_size": [3, 224, 224]}}).preprocessing == usual
    assert parsed({"mean": [0, 0, 0], "std": [1]}).preprocessing == dataclasses.replace(
        usual, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    gray = parsed({"input_size": [1, 28, 28], "mean": [0.1307], "std": [0.3081]}).preprocessing
    assert (gray.image_size, gray.mean, gray.std) == (28, (0.1307,), (0.3081,))


@pytest.mark.parametrize("config", [{}, {"architectures": ["MobileNetV2"], "image_size": 96}, {"pretrained_cfg": {}}])
def test_a_config_without_known_fields_is_empty(config):
    assert parsed(config) == PretrainedConfig()


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(
        st.integers(1, 8192),
        st.floats(0.01, 100),
        st.sampled_from(_preprocessing.INTERPOLATIONS),
        st.tuples(*[st.floats(0, 1)] * 3),
        st.tuples(*[st.floats(1e-4, 1e4)] * 3),
        st.sampled_from(_preprocessing.CROP_MODES),
    )
)
def test_preprocessing_is_written_and_read(fields):
    preprocessing = Preprocessing(*fields)
    assert parsed({"pretrained_cfg": to_timm(preprocessing)}).preprocessing == preprocessing


def test_every_network_of_jds_is_written_and_read():
    for variant in zoo.VARIANTS.values():
        assert parsed({"pretrained_cfg": to_timm(variant.preprocessing)}).preprocessing == variant.preprocessing


@pytest.mark.parametrize(
    ("config", "count", "labels"),
    [
        ({"label_names": ["ant", "bee"]}, 2, {0: "ant", 1: "bee"}),
        ({"num_classes": 2, "pretrained_cfg": {"label_names": ["ant", "bee"]}}, 2, {0: "ant", 1: "bee"}),
        ({"num_classes": 9, "label_names": {"0": "ant", "7": "bee"}}, 9, {0: "ant", 7: "bee"}),
        ({"labels": ["ant", "bee"], "architecture": "x"}, 2, {0: "ant", 1: "bee"}),
        (
            {"num_classes": 2, "label_names": ["n1", "n2"], "label_descriptions": {"n1": "ant"}},
            2,
            {0: "ant", 1: "n2"},
        ),
        ({"num_classes": 0}, 0, {}),
    ],
)
def test_names_of_classes_are_read(config, count, labels):
    found = parsed(config)
    assert (found.num_classes, found.labels) == (count, labels)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_size": 224}, r"`input_size` must be \[1 or 3 channels, height, width\] with .* got 224"),
        ({"input_size": [3, 224, 256]}, "`input_size`"),
        ({"input_size": [3, 10**9, 10**9]}, "`input_size`"),
        ({"input_size": [3, 224.0, 224.0]}, "`input_size`"),
        ({"input_size": [True, 224, 224]}, "`input_size`"),
        ({"crop_pct": "0.9"}, "`crop_pct` must be a number from 0.01 to 100, got '0.9'"),
        ({"crop_pct": 0}, "`crop_pct`"),
        ({"crop_pct": float("nan")}, "`crop_pct` must be .* got nan"),
        ({"crop_pct": True}, "`crop_pct`"),
        ({"crop_pct": [0.9]}, "`crop_pct`"),
        ({"crop_mode": "middle"}, "`crop_mode` must be one of center, squash, border, got 'middle'"),
        ({"interpolation": "random"}, "`interpolation` must be one of nearest, bilinear, .* got 'random'"),
        ({"interpolation": ["bilinear"]}, "`interpolation`"),
        ({"mean": 0.5}, "`mean`"),
        ({"mean": [0.5, 0.5]}, "`mean` must be 3 numbers from 0 to 1, or one for gray images, got"),
        ({"mean": [123.675, 116.28, 103.53]}, "`mean`"),
        ({"mean": [0.5, 0.5, float("inf")]}, "`mean`"),
        ({"mean": [0.5, 0.5, 10**400]}, "`mean`"),
        ({"mean": [0.5, 0.5, None]}, "`mean`"),
        ({"std": [0.5, 0.5, 0.0]}, "`std`"),
        ({"input_size": [1, 28, 28], "std": [0.5]}, "`mean` must be a list of one number per channel of `input_size`"),
        ({"num_classes": -1}, "`num_classes` must be an int of at least 0, got -1"),
        ({"num_classes": "10"}, "`num_classes`"),
        ({"architecture": ["x"]}, "`architecture` must be a string"),
        ({"label_names": "ant"}, "`label_names`"),
        ({"label_names": ["ant", 3]}, "`label_names`"),
        ({"num_classes": 3, "label_names": ["ant", "bee"]}, "`label_names` must be a list of `num_classes` strings"),
        ({"num_classes": 3, "label_names": {"3": "ant"}}, "`label_names`"),
        ({"label_names": {"-1": "ant"}}, "`label_names`"),
        ({"label_descriptions": {"ant": 3}}, "`label_descriptions`"),
        ({"pretrained_cfg": []}, "`pretrained_cfg` must be an object"),
        ([], r"must contain a JSON object, got \[\]"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_wrong_fields_are_named(wrong, message, inside):
    nested = inside and isinstance(wrong, dict) and "pretrained_cfg" not in wrong
    with pytest.raises(jds.WeightsError, match=f"^config.json:? {message}"):
        parsed({"pretrained_cfg": wrong} if nested else wrong)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe\xfa", b"[" * 100_000, b'{"num_classes": ' + b"9" * 10_000 + b"}", b'{"a": 1}x']
)
def test_invalid_json_is_refused(text):
    with pytest.raises(jds.WeightsError, match=r"^config\.json is not valid JSON"):
        parse(text, "config.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)
KEYS = [
    "pretrained_cfg",
    "input_size",
    "crop_pct",
    "crop_mode",
    "interpolation",
    "mean",
    "std",
    "num_classes",
    "label_names",
    "architecture",
]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_config_is_read_or_refused_by_field(config):
    message = ""
    try:
        assert isinstance(parsed(config), PretrainedConfig)
    except jds.WeightsError as error:
        message = str(error)
    if message:
        assert any(f"`{key}`" in message for key in KEYS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of a repository."""
    folder = tmp_path_factory.mktemp("folder")
    jds.save_weights(jds.create_model(NAME), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TF_B5_AP))
    return folder


def test_preprocessing_belongs_to_the_weights(folder, tmp_path):
    wanted = parsed(TF_B5_AP).preprocessing
    assert jds.create_model(NAME, folder).preprocessing == wanted
    assert jds.create_model(NAME, str(folder)).preprocessing == wanted
    assert jds.create_model(NAME, folder / "model.safetensors").preprocessing == wanted
    other = tmp_path / "other.safetensors"
    other.write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(TF_B5_AP))
    assert jds.create_model(NAME, other).preprocessing == zoo.VARIANTS[NAME].preprocessing


def test_preprocessing_comes_with_a_repository(folder, monkeypatch):
    asked = []

    def fetch(repository, filename):
        asked.append((repository, filename))
        return folder / filename

    monkeypatch.setattr(_files, "fetch", fetch)
    assert jds.create_model(NAME, "some/network").preprocessing == parsed(TF_B5_AP).preprocessing
    assert asked == [("some/network", "config.json"), ("some/network", "model.safetensors")]

    def without(repository, filename):
        if filename == "config.json":
            raise FileNotFoundError(f"{repository} has no {filename}")
        return folder / filename

    monkeypatch.setattr(_files, "fetch", without)
    assert jds.create_model(NAME, "some/network").preprocessing == zoo.VARIANTS[NAME].preprocessing

    def broken(repository, filename):
        raise OSError("no network")

    monkeypatch.setattr(_files, "fetch", broken)
    with pytest.raises(OSError, match="no network"):
        jds.create_model(NAME, "some/network")


def test_a_wrong_config_is_found_before_the_weights_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"std": [0, 0, 0]}')
    with pytest.raises(jds.WeightsError, match=f"^{tmp_path}/config.json: `std` must be"):
        jds.create_model(NAME, tmp_path)


def test_a_huge_config_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_pretrained_config, "_MOST_BYTES", 10)
    (tmp_path / "config.json").write_text('{"architecture": "x"}')
    with pytest.raises(jds.WeightsError, match="must have at most 10 bytes, got 21"):
        _pretrained_config.read(tmp_path)


def test_users_can_set_another_preprocessing():
    model = nnx.eval_shape(lambda: jds.create_model(NAME))
    model.preprocessing = dataclasses.replace(model.preprocessing, image_size=32, mean=HALF, std=HALF)
    assert model.preprocess(np.zeros((9, 12, 3), np.uint8)).shape == (1, 32, 32, 3)
