"""Preprocessing of images."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import numpy as np

CropMode = Literal["center", "squash", "border"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
CROP_MODES, INTERPOLATIONS = get_args(CropMode), get_args(Interpolation)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


def _is_number(value: Any, least: int | float, largest: int | float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= largest


def _are_numbers(values: Any, least: int | float, largest: int | float) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) in (1, 3)
        and all(_is_number(value, least, largest) for value in values)
    )


# The requirement on each field, in words and as a test.
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "image_size": ("an int from 1 to 8192", lambda value: isinstance(value, int) and _is_number(value, 1, 8192)),
    "crop": ("a number from 0.01 to 100", lambda value: _is_number(value, 0.01, 100)),
    "crop_mode": (f"one of {', '.join(CROP_MODES)}", lambda value: value in CROP_MODES),
    "interpolation": (f"one of {', '.join(INTERPOLATIONS)}", lambda value: value in INTERPOLATIONS),
    "mean": ("3 numbers from 0 to 1, or one for gray images", lambda values: _are_numbers(values, 0, 1)),
    "std": ("3 numbers from 0.0001 to 10000, or one for gray images", lambda values: _are_numbers(values, 1e-4, 1e4)),
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Converts images to a network's input: resizes, crops the center, subtracts the mean and divides by the std.

    Sizes and pixels equal those of timm, torchvision and Keras on Pillow, with two exceptions: photographs are rotated
    upright, and images of more than 8 bits are scaled, whereas those packages truncate them.

    Attributes:
      image_size: height and width of the input.
      crop: fraction of the resized image's side that is kept.
      interpolation: resizing filter.
      mean, std: mean and standard deviation per channel, for values from 0 to 1; one number for gray images.
      crop_mode: `"center"` resizes the shorter side, keeping the aspect ratio, and crops the center; `"squash"` resizes
        both sides, ignoring the aspect ratio; `"border"` resizes the longer side and fills the rest with the mean.

    Raises:
      ValueError: a field is out of its range.

    Example:
      >>> import dataclasses, jds, numpy as np
      >>> model = jds.create_model("mobilenetv3_small_050")
      >>> model.preprocessing = dataclasses.replace(model.preprocessing, image_size=96, crop=1.0, crop_mode="squash")
      >>> model.preprocess(np.zeros((480, 640, 3), np.uint8)).shape
      (1, 96, 96, 3)
    """

    image_size: int = 224
    crop: float = 0.875
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_mode: CropMode = "center"

    def __post_init__(self):
        for field, (rule, holds) in RULES.items():
            if not holds(getattr(self, field)):
                raise ValueError(f"Preprocessing: `{field}` must be {rule}, got {getattr(self, field)!r}")
        if len(self.mean) != len(self.std):
            raise ValueError(f"Preprocessing: `std` must have as many numbers as `mean`, got {self.mean}, {self.std}")

    def __call__(self, image: Any) -> jax.Array:
        """Preprocesses images.

        Args:
          image: a `PIL.Image.Image`, which is rotated upright according to its EXIF data; or an array of uint8, uint16,
            or floats from 0 to 1, with shape `(height, width)`, or `(height, width, channels)` or
            `(n, height, width, channels)` with 1, 3 or 4 channels; or a list of images of any sizes. Transparency is
            dropped. Gray PIL images of 16 or 32 bits are scaled; see `jds.models.pictures.scaled`.

        Returns:
          `(n, image_size, image_size, 3)`, float32; n is 1 for a single image. For a network of gray images, the last
          axis has size 1.

        Raises:
          TypeError, ValueError: `image` is not one of these.
        """
        # Imported here, because Pillow is slow to import.
        from jds.models.pictures import pictures_of

        channels = len(self.mean)
        pictures = pictures_of(image, "RGB" if channels == 3 else "L")
        ready = np.empty((len(pictures), self.image_size, self.image_size, channels), np.float32)
        for place, picture in enumerate(pictures):
            ready[place] = self._values(picture).reshape(ready.shape[1:])
        ready /= 255
        # `jnp.asarray` would compile a program for each shape.
        return jax.device_put((ready - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32))

    def _values(self, picture: Any) -> np.ndarray:
        from jds.models._resizing import middle

        resized = max(1, math.floor(self.image_size / self.crop))
        # torchvision fills the area outside the image with black, timm's "border" mode with the mean.
        fill = tuple(round(255 * value) if self.crop_mode == "border" else 0 for value in self.mean)
        return np.asarray(middle(picture, resized, self.image_size, self.crop_mode, self.interpolation, fill))
