"""What a network expects of its images."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

Interpolation = Literal["bilinear", "bicubic"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From an image to a network's input: the middle of the resized image, less a mean, by a scale.

    Attributes:
      image_size: height and width of the input.
      crop: what of the resized image's shorter side is kept.
      interpolation: as it is resized.
      mean, std: of each channel, for values from 0 to 1.
    """

    image_size: int = 224
    crop: float = 0.875
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(self, image: Any) -> jax.Array:
        """Makes an image ready.

        Args:
          image: a `PIL.Image.Image`, or an array `(height, width, 3)` or `(height, width)` of uint8.

        Returns:
          `(1, image_size, image_size, 3)`, float32.

        Raises:
          TypeError, ValueError: it is no such image.
        """
        picture = _picture(image).convert("RGB")
        shorter = math.floor(self.image_size / self.crop)
        scale = shorter / min(picture.size)
        width, height = (max(shorter, int(side * scale)) for side in picture.size)
        resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        picture = picture.resize((width, height), resampling[self.interpolation])
        left, top = round((width - self.image_size) / 2), round((height - self.image_size) / 2)
        picture = picture.crop((left, top, left + self.image_size, top + self.image_size))
        values = np.asarray(picture, np.float32) / 255
        normal = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return jnp.asarray(normal[None])


def _picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise TypeError(f"preprocess: `image` must be a PIL image or an array of uint8, got {array.dtype}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3) or 0 in array.shape:
        raise ValueError(
            f"preprocess: `image` must have shape (height, width, 3) or (height, width), got {array.shape}"
        )
    return Image.fromarray(array)
