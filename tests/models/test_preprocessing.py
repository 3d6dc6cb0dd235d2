"""Preprocessing of images against independent implementations of timm's, torchvision's and Keras's rules."""

import dataclasses
import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import jds
from jds import zoo
from jds.models import _preprocessing, _resizing
from jds.models._preprocessing import HALF, IMAGENET_MEAN, IMAGENET_STD, Preprocessing

# `timm.data.resolve_data_config` of timm 1.0.31, for each name's default weights.
TIMM = json.loads((Path(__file__).parents[1] / "data" / "timm_preprocessing.json").read_text())

# `resize_size`, `crop_size` and `interpolation` of `torchvision.models.get_model_weights(name).DEFAULT.transforms()`.
TORCHVISION = """
    mobilenet_v2 232 224 bilinear; mobilenet_v3_large 232 224 bilinear; mobilenet_v3_small 256 224 bilinear;
    efficientnet_b0 256 224 bicubic; efficientnet_b1 255 240 bilinear; efficientnet_b2 288 288 bicubic;
    efficientnet_b3 320 300 bicubic; efficientnet_b4 384 380 bicubic; efficientnet_b5 456 456 bicubic;
    efficientnet_b6 528 528 bicubic; efficientnet_b7 600 600 bicubic; convnext_tiny 236 224 bilinear;
    convnext_small 230 224 bilinear; convnext_base 232 224 bilinear; convnext_large 232 224 bilinear
"""

# The input sizes of https://keras.io/api/applications.
KERAS = {"Xception": 299} | dict(
    zip((f"EfficientNetB{number}" for number in range(8)), (224, 240, 260, 300, 380, 456, 528, 600), strict=True)
)


def noise(width, height, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def test_timm_networks_have_the_preprocessing_of_timm():
    ours = {
        name: [p.image_size, p.crop, p.crop_mode, p.interpolation, list(p.mean), list(p.std)]
        for name, variant in zoo.VARIANTS.items()
        if variant.source == "timm"
        for p in [variant.preprocessing]
    }
    assert ours == {tag.partition(".")[0]: fields for tag, fields in TIMM.items()}


def test_torchvision_networks_have_the_preprocessing_of_torchvision():
    ours = {
        name.partition("/")[2]: f"{math.floor(p.image_size / p.crop)} {p.image_size} {p.interpolation}"
        for name, variant in zoo.VARIANTS.items()
        if variant.source == "torchvision"
        for p in [variant.preprocessing]
        if (p.mean, p.std, p.crop_mode) == (IMAGENET_MEAN, IMAGENET_STD, "center")
    }
    assert ours == dict(row.split(maxsplit=1) for row in " ".join(TORCHVISION.split()).split("; "))


@pytest.mark.parametrize("name", [name for name, variant in zoo.VARIANTS.items() if variant.source == "keras"])
def test_keras_networks_see_the_whole_image(name):
    p = zoo.VARIANTS[name].preprocessing
    image = Image.fromarray(noise(400, 250))
    short = name.partition("/")[2]
    size = KERAS.get(short, 224)
    # `keras.utils.load_img(file, target_size=(size, size))` and the network's `preprocess_input`, which EfficientNet and
    # ConvNeXt have inside the network.
    pixels = np.asarray(image.resize((size, size), Image.Resampling.NEAREST), np.float32)
    inside = short.startswith(("EfficientNet", "ConvNeXt"))
    wanted = (pixels / 255 - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD) if inside else pixels / 127.5 - 1
    np.testing.assert_allclose(p(image)[0], wanted, atol=1e-6)


def torchvision_resize(width, height, size):
    """`torchvision.transforms.functional._compute_resized_output_size` for a single number."""
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def torchvision_crop(length, kept):
    """Padding and start of `torchvision.transforms.functional.center_crop`, along one axis."""
    padding = (kept - length) // 2 if kept > length else 0
    after = (kept - length + 1) // 2 if kept > length else 0
    return round((length + padding + after - kept) / 2.0) - padding


def timm_keep_ratio(width, height, size):
    """`timm.data.transforms.ResizeKeepRatio.get_params` with `longest=1.0`."""
    ratios = (height / size, width / size)
    ratio = max(ratios) * 1.0 + min(ratios) * (1.0 - 1.0)
    return round(width * 1.0 / ratio), round(height * 1.0 / ratio)


def test_sizes_match_those_of_the_packages_to_the_pixel():
    rng = np.random.default_rng(0)
    exact = [(3 * n, 2 * n) for n in range(100, 1300)] + [(n, 2 * n) for n in range(100, 1300)]
    drawn = np.exp(rng.uniform(0, np.log(20_000), (100_000 - len(exact), 2))).astype(int).tolist()
    sides = sorted({math.floor(p.image_size / p.crop) for v in zoo.VARIANTS.values() for p in [v.preprocessing]})
    assert len(sides) > 20
    for place, (width, height) in enumerate([*exact, *drawn]):
        side = sides[place % len(sides)]
        assert _resizing.resized_size((width, height), side, "center") == torchvision_resize(width, height, side)
        wanted = timm_keep_ratio(width, height, side)
        assert _resizing.resized_size((width, height), side, "border") == (max(1, wanted[0]), max(1, wanted[1]))
        assert _resizing.start(width, side) == torchvision_crop(width, side)


@pytest.mark.parametrize(
    ("width", "height", "size", "crop", "resized"),
    [(187, 374, 224, 0.875, (256, 512)), (600, 400, 456, 1.0, (684, 456)), (900, 600, 600, 0.949, (948, 632))],
)
def test_no_pixel_is_lost_by_rounding(width, height, size, crop, resized):
    image = Image.fromarray(noise(width, height))
    left, top = ((side - size) // 2 for side in resized)
    wanted = image.resize(resized, Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    ready = Preprocessing(size, crop, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))(image)
    np.testing.assert_array_equal(np.round(255 * ready[0]), np.asarray(wanted))


@pytest.mark.parametrize(
    ("mode", "crop", "corner", "middle"),
    [("center", 0.5, 90, 90), ("squash", 1.0, 10, 90), ("border", 1.0, 51, 90), ("center", 2.0, 0, 90)],
)
def test_each_crop_mode_keeps_the_right_part_of_an_image(mode, crop, corner, middle):
    # 80 x 40: dark at the left and right, bright in the middle.
    pixels = np.full((40, 80, 3), 10, np.uint8)
    pixels[:, 20:60] = 90
    p = Preprocessing(40, crop, "nearest", mean=(0.2,) * 3, std=(1.0,) * 3, crop_mode=mode)
    gray = np.round(255 * (p(pixels)[0, :, :, 0] + 0.2))
    assert (gray[0, 0], gray[20, 20]) == (corner, middle)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("shape", [(1, 1_000_000, 3), (1_000_000, 1, 3)])
def test_a_strip_takes_little_memory(mode, shape):
    strip = np.full(shape, 51, np.uint8)
    p = Preprocessing(64, mean=(0.2,) * 3, std=(1.0,) * 3, crop_mode=mode)
    np.testing.assert_allclose(p(strip), 0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(8, 60),
    st.sampled_from([0.5, 0.875, 1.0, 1.2]),
    st.sampled_from(_preprocessing.INTERPOLATIONS),
)
def test_the_part_of_a_strip_is_the_middle_of_the_whole(size, kept, crop, interpolation):
    # If a point lies midway between two pixels, either may be taken, so neighbors must have similar values.
    takes_one = interpolation in ("nearest", "box")
    ramp = np.add.outer(2 * np.arange(size[1]), 2 * np.arange(size[0])).astype(np.uint8)
    # Low contrast: Pillow makes two passes, in either order, and clips to 8 bits between them.
    image = Image.fromarray(ramp if takes_one else noise(*size) // 4 + 96)
    p = Preprocessing(kept, crop, interpolation, mean=(0.0,) * 3, std=(1.0,) * 3)
    whole = p(image)
    most, _resizing._MOST = _resizing._MOST, 0
    try:
        part = p(image)
    finally:
        _resizing._MOST = most
    # Each of the two passes rounds to 8 bits.
    np.testing.assert_allclose(255 * whole, 255 * part, atol=4.01 if takes_one else 2.01)


def test_images_of_every_kind_are_accepted():
    model = nnx.eval_shape(lambda: jds.create_model("mobilenetv1_100"))
    color = noise(40, 30)
    wanted = np.asarray(model.preprocess(Image.fromarray(color)))
    assert wanted.shape == (1, 224, 224, 3)
    alpha = np.dstack([color, color[..., :1]])
    for same in (color, jnp.asarray(color), alpha, color[None], [color], (Image.fromarray(color),), color / 255):
        np.testing.assert_array_equal(model.preprocess(same), wanted)
    np.testing.assert_array_equal(model.preprocess(color.astype(np.uint16) * 257), wanted)
    np.testing.assert_array_equal(model.preprocess((color / 255).astype(jnp.bfloat16)).shape, wanted.shape)
    gray = color[..., 0]
    repeated = model.preprocess(np.repeat(gray[..., None], 3, -1))
    for same in (gray, gray[..., None], gray[None, ..., None], Image.fromarray(gray)):
        np.testing.assert_array_equal(model.preprocess(same), repeated)
    several = model.preprocess([color, gray, Image.fromarray(color[:9])])
    assert several.shape == (3, 224, 224, 3)
    np.testing.assert_array_equal(several[:1], wanted)
    np.testing.assert_array_equal(model.preprocess(np.stack([color, color]))[1:], wanted)
    assert model.preprocess([]).shape == model.preprocess(color[None][:0]).shape == (0, 224, 224, 3)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("photo.png", TypeError, "must be a PIL image, an array of uint8.* or a list of those, got <class 'str'>"),
        (np.zeros((9, 9, 3), np.int64), TypeError, "or floats from 0 to 1, or a list of those, got int64"),
        (np.zeros((9, 9), bool), TypeError, "got bool"),
        ([[0, 1], [1, 0]], TypeError, "must be a list of PIL images or arrays, got a list with <class 'list'>"),
        (
            np.full((9, 9, 3), 255.0),
            ValueError,
            r"values from 0 to 1, got values from 255 to 255; if they are from 0 to",
        ),
        (np.full((9, 9), np.nan), ValueError, "values from 0 to 1, got values from nan to nan"),
        (np.zeros((3, 9, 9), np.uint8), ValueError, r"must have shape \(height, width\), or .* got \(3, 9, 9\)"),
        (np.zeros((9, 9, 2), np.uint8), ValueError, r"with 1, 3 or 4 channels, got \(9, 9, 2\)"),
        (np.zeros((0, 9, 3), np.uint8), ValueError, r"got \(0, 9, 3\)"),
        (
            [np.zeros((2, 9, 9, 3), np.uint8)],
            ValueError,
            r"a list of single images, got an array of shape \(2, 9, 9, 3\)",
        ),
        (Image.new("RGB", (0, 9)), ValueError, "an image must have at least one pixel, got size 0 x 9"),
    ],
)
def test_what_is_not_an_image_is_refused(image, error, message):
    with pytest.raises(error, match=message):
        Preprocessing()(image)


def test_gray_images_have_one_channel():
    gray = noise(40, 30, 1)
    ready = Preprocessing(32, mean=(0.5,), std=(0.5,))(gray)
    assert ready.shape == (1, 32, 32, 1)
    np.testing.assert_array_equal(ready[..., 0], Preprocessing(32, mean=HALF, std=HALF)(gray)[..., 0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 0},
        {"image_size": 224.0},
        {"image_size": True},
        {"crop": 0.0},
        {"crop": math.nan},
        {"interpolation": "cubic"},
        {"crop_mode": "middle"},
        {"mean": (123.0, 116.0, 103.0)},
        {"mean": (0.5, 0.5)},
        {"std": (0.0, 0.5, 0.5)},
        {"std": (0.5,)},
    ],
)
def test_wrong_fields_are_refused(wrong, unchecked_types):
    (field,) = wrong
    with pytest.raises(ValueError, match=f"^Preprocessing: `{field}` must "):
        dataclasses.replace(Preprocessing(), **wrong)


def test_a_network_without_preprocessing_says_so():
    bare = nnx.eval_shape(lambda: jds.models.MobileNetV2(jds.models.MobileNetV2Config(), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"the network was not made by `jds.create_model`"):
        bare.preprocess(noise(9, 9))


def test_every_field_has_a_rule():
    assert _preprocessing.RULES.keys() == {field.name for field in dataclasses.fields(Preprocessing)}
