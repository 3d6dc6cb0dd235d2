"""Reads images, rotates them upright, and converts them to 8 bits."""

import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

_KINDS = "an array of uint8, uint16 or floats from 0 to 1"
_SHAPES = "(height, width), or (height, width, channels) or (n, height, width, channels) with 1, 3 or 4 channels"

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Files that systems and archives leave next to the data, besides all names that begin with a dot.
_LEFTOVERS = {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "lost+found", "Thumbs.db", "desktop.ini"}

# Keyed by the orientation in the EXIF data.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(path: str | Path) -> Image.Image:
    """Opens an image file.

    A photograph is rotated upright according to its EXIF data. Values of more than 8 bits are scaled; see `scaled`.
    Transparency is dropped, as in `image.convert("RGB")`. For an animation, only the first frame is read.

    Args:
      path: path of a file in a format that Pillow can read.

    Returns:
      An image with mode RGB.

    Raises:
      OSError: the file does not exist, is not an image, is damaged, or has more than twice
        `PIL.Image.MAX_IMAGE_PIXELS` pixels; the message begins with the path.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import numpy as np
      >>> from PIL import Image
      >>> from jds.models.pictures import open_image
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder) / "depth.png"
      ...     Image.fromarray(np.full((20, 30), 40 * 257, np.uint16)).save(file)
      ...     open_image(file).getpixel((0, 0))
      (40, 40, 40)
    """
    try:
        # Open the file here: given a path, Pillow memory-maps some TIFF files and then rotates them incorrectly.
        with open(path, "rb") as file, warnings.catch_warnings():
            # Raised for images that are large, but below the limit.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return as_picture(image, "RGB")
    except UnidentifiedImageError:
        raise OSError(f"'{path}': not an image in a format that Pillow can read") from None
    except Exception as error:  # Pillow's decoders may raise anything on damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OSError(f"'{path}': {reason}") from None


def is_leftover(path: Path) -> bool:
    """Whether a file or folder is hidden or was left by a system, and so is not data.

    Example:
      >>> from pathlib import Path
      >>> from jds.models.pictures import is_leftover
      >>> [is_leftover(Path(name)) for name in ("photos/a.png", "photos/._a.png", "__MACOSX")]
      [False, True, True]
    """
    return path.name.startswith(".") or path.name in _LEFTOVERS


def as_picture(image: Image.Image, mode: str) -> Image.Image:
    """Rotates an image upright, scales it to 8 bits, and converts it to `mode`: RGB or L.

    Raises:
      ValueError: it has no pixels, or some values are not finite.
      OSError: it was opened, but its pixels cannot be read.
    """
    if 0 in image.size:
        raise ValueError(f"an image must have at least one pixel, got size {image.width} x {image.height}")
    image = upright(image)
    if image.mode[0] in "IF":
        image = Image.fromarray(scaled(np.asarray(image)))
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # same colors, but avoids a Pillow warning
    return image.convert(mode)


def upright(image: Image.Image) -> Image.Image:
    """Rotates or flips an image according to the orientation in its EXIF data."""
    image.load()  # this already rotates TIFF files
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow may raise anything on damaged EXIF data; the pixels are valid
        return image
    if orientation not in _TURNS:
        return image
    turned = image.transpose(_TURNS[orientation])
    # Drop the EXIF data, which still requests a rotation. Pillow's `exif_transpose` rewrites it instead, and may fail.
    turned.info = {key: value for key, value in image.info.items() if key == "transparency"}
    return turned


def scaled(values: np.ndarray) -> np.ndarray:
    """Scales the values of a gray image of more than 8 bits to uint8.

    uint16 values are divided by 257. Other values are scaled from the first of these ranges that contains all of them:
    0 to 1 (floats only), 0 to 255, 0 to 65535, or else their minimum to their maximum.

    Raises:
      ValueError: some are not finite.
    """
    if values.dtype.itemsize == 2 and values.dtype.kind == "u":
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    least, largest = float(values.min()), float(values.max())
    if not np.isfinite([least, largest]).all():
        raise ValueError("the values of an image must be numbers, got NaN or infinity")
    ends = (1, 255, 65535) if values.dtype.kind == "f" else (255, 65535)
    low, high = next(((0, end) for end in ends if least >= 0 and largest <= end), (least, largest))
    shares = (values.astype(np.float64) - low) / max(high - low, 1e-300)
    return np.round(255 * shares).astype(np.uint8)


def pictures_of(images: Any, mode: str) -> list[Image.Image]:
    """Converts everything that `Preprocessing` accepts to pictures.

    Raises:
      TypeError, ValueError: `images` is not an image.
    """
    if isinstance(images, Image.Image):
        return [as_picture(images, mode)]
    if isinstance(images, list | tuple):
        return [_single(image, mode) for image in images]
    return [Image.fromarray(values).convert(mode) for values in _bytes(images)]


def _single(image: Any, mode: str) -> Image.Image:
    if getattr(image, "ndim", 0) == 4:
        raise ValueError(
            f"preprocess: `image` must be a list of single images, got an array of shape {image.shape} in the list"
        )
    if isinstance(image, list | tuple):
        raise TypeError(f"preprocess: `image` must be a list of PIL images or arrays, got a list with {type(image)}")
    return pictures_of(image, mode)[0]


def _bytes(image: Any) -> list[np.ndarray]:
    """Returns uint8 arrays with shapes that Pillow accepts."""
    if not hasattr(image, "__array__"):
        raise TypeError(f"preprocess: `image` must be a PIL image, {_KINDS}, or a list of those, got {type(image)}")
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[None, ..., None]
    elif array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape[1:]:
        raise ValueError(f"preprocess: `image` must have shape {_SHAPES}, got {np.shape(image)}")
    if array.dtype == np.uint16:
        array = scaled(array)
    elif jnp.issubdtype(array.dtype, jnp.floating):
        array = _from_shares(array)
    if array.dtype != np.uint8:
        raise TypeError(f"preprocess: `image` must be a PIL image, {_KINDS}, or a list of those, got {array.dtype}")
    return list(array[..., 0] if array.shape[-1] == 1 else array)


def _from_shares(array: np.ndarray) -> np.ndarray:
    shares = array.astype(np.float64)
    if not (np.all(shares >= 0) and np.all(shares <= 1)):
        raise ValueError(
            "preprocess: a floating-point `image` must have values from 0 to 1, got values from "
            f"{shares.min():.6g} to {shares.max():.6g}; if they are from 0 to 255, pass image.astype(np.uint8)"
        )
    return np.round(255 * shares).astype(np.uint8)
