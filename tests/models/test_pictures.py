"""Image files become upright 8-bit images without transparency; damaged ones are refused."""

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from jds.models._preprocessing import Preprocessing
from jds.models.pictures import open_image, scaled

# Quadrants in gray.
QUADRANTS = np.kron(np.array([[40, 100], [160, 220]], np.uint8), np.ones((20, 30), np.uint8))


def gray(image):
    pixels = np.asarray(image)
    assert image.mode == "RGB"
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


DEEP = {
    "16 bits": QUADRANTS.astype(np.uint16) * 257,
    "big-endian": QUADRANTS.astype(">u2") * 257,
    "32 bits": QUADRANTS.astype(np.int32) * 257,
    "32 bits with 8 used": QUADRANTS.astype(np.int32),
    "from 0 to 1": QUADRANTS.astype(np.float32) / 255,
    "from 0 to 255": QUADRANTS.astype(np.float32),
    "from 0 to 65535": QUADRANTS.astype(np.float32) * 257,
}


@pytest.mark.parametrize("kind", DEEP)
def test_images_of_more_than_8_bits_are_scaled_not_clipped(kind, tmp_path):
    mode = {"big-endian": "I;16B"}.get(kind)
    image = Image.fromarray(DEEP[kind]) if mode is None else Image.frombytes(mode, (60, 40), DEEP[kind].tobytes())
    p = Preprocessing(40, 1.0, crop_mode="center")
    np.testing.assert_array_equal(p(image), p(QUADRANTS))
    suffix = "png" if image.mode == "I;16" else "tiff"
    image.save(tmp_path / f"image.{suffix}")
    np.testing.assert_array_equal(gray(open_image(tmp_path / f"image.{suffix}")), QUADRANTS)


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1), st.booleans())
def test_scaling_keeps_the_order(values, whole):
    array = np.clip(values, -1e9, 1e9).astype(np.int32) if whole else np.asarray(values, np.float32)
    bytes_ = scaled(array[None])[0]
    order = np.argsort(array, kind="stable")
    assert (np.diff(bytes_[order].astype(int)) >= 0).all()
    if array.min() < 0 and array.min() < array.max():
        assert (bytes_.min(), bytes_.max()) == (0, 255)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_numbers_are_refused(value, tmp_path):
    Image.fromarray(np.array([[0.5, value]], np.float32)).save(tmp_path / "image.tiff")
    with pytest.raises(OSError, match=r"^'.*image.tiff': the values of an image must be numbers, got NaN or infinity$"):
        open_image(tmp_path / "image.tiff")


# From an upright image to the stored one, for each value of EXIF's orientation (CIPA DC-008, 4.6.4 A).
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg", "webp"])
def test_photographs_are_upright(orientation, suffix, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = tmp_path / f"image.{suffix}"
    options = {"quality": 100} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(np.ascontiguousarray(STORED[orientation](QUADRANTS))).save(file, exif=exif, **options)
    np.testing.assert_allclose(gray(open_image(file)), QUADRANTS, atol=0 if suffix != "jpg" else 3)
    p = Preprocessing(40, 1.0)
    # They are not rotated twice.
    np.testing.assert_array_equal(p(open_image(file)), p(gray(open_image(file))))
    with open(file, "rb") as opened, Image.open(opened) as image:
        np.testing.assert_allclose(p(image), p(QUADRANTS), atol=1e-6 if suffix != "jpg" else 0.1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "CMYK", "YCbCr", "HSV"])
def test_other_modes_are_converted_as_pillow_does(mode):
    color = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    image = color.convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)))
    elif mode == "P":
        image.info["transparency"] = bytes(range(256))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = image.convert("RGB")
    p = Preprocessing(32, 1.0)
    np.testing.assert_array_equal(p(image), p(wanted))


@pytest.mark.parametrize("suffix", ["png", "gif", "tiff", "bmp", "webp", "jpg"])
def test_damaged_files_are_refused(suffix, tmp_path):
    file = tmp_path / f"image.{suffix}"
    Image.fromarray(QUADRANTS).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=f"^'{file}': [^']+$"):
        open_image(file)
    draw = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(whole)
        damaged[draw.integers(len(whole))] = draw.integers(256)
        file.write_bytes(damaged)
        # Either an image, whatever it shows, or this error; no other error and no warning.
        with contextlib.suppress(OSError):
            assert open_image(file).mode == "RGB"


def test_paths_that_are_not_image_files_are_refused(tmp_path):
    with pytest.raises(OSError, match=r"^'.*none.png': No such file or directory$"):
        open_image(tmp_path / "none.png")
    with pytest.raises(OSError, match=f"^'{tmp_path}': Is a directory$"):
        open_image(tmp_path)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(OSError, match=r"^'.*text.png': not an image in a format that Pillow can read$"):
        open_image(tmp_path / "text.png")


def test_bombs_are_refused_and_large_images_pass_without_a_warning(tmp_path, monkeypatch):
    Image.fromarray(QUADRANTS).save(tmp_path / "image.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", QUADRANTS.size - 1)
    assert open_image(tmp_path / "image.png").size == (60, 40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", QUADRANTS.size // 3)
    with pytest.raises(OSError, match=r"2400 pixels.*could be decompression bomb"):
        open_image(tmp_path / "image.png")


def test_the_orientation_is_found_among_malformed_data(tmp_path):
    file = tmp_path / "image.png"
    # Big-endian, 12 bytes each: a maker of type float, on which `ImageOps.exif_transpose` fails, and the orientation.
    entries = b"\x01\x0f\0\x0b\0\0\0\x01\xff\xff\xff\xff" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](QUADRANTS)))
    stored.save(file, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + entries + bytes(4))
    np.testing.assert_array_equal(gray(open_image(file)), QUADRANTS)


def test_a_damaged_orientation_is_ignored(tmp_path):
    file = tmp_path / "image.png"
    Image.fromarray(QUADRANTS).save(file, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\xff\xff\xff\xff\0\x63\0\0")
    np.testing.assert_array_equal(gray(open_image(file)), QUADRANTS)
