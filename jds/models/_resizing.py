"""The middle of a resized picture, as torchvision and timm cut it."""

import math

from PIL import Image

from jds.models._preprocessing import CropMode, Interpolation

# A resized picture of more pixels than this, 256 MiB, is computed only where it is kept.
_MOST = 2**26


def resized_size(size: tuple[int, int], side: int, mode: CropMode) -> tuple[int, int]:
    """The size that an image is resized to.

    Args:
      size: of the image, width and height.
      side: what the shorter side becomes; the longer one in the mode `"border"`, both in `"squash"`.
      mode: see `Preprocessing`.

    Returns:
      Width and height.
    """
    width, height = size
    if mode == "squash":
        return side, side
    if mode == "border":
        ratio = max(width / side, height / side)
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    longer = int(side * max(size) / min(size))
    return (side, longer) if width <= height else (longer, side)


def start(length: int, kept: int) -> int:
    """Where the middle begins; negative, if it is longer than the whole."""
    return round((length - kept) / 2) if length >= kept else -((kept - length) // 2)


def middle(
    picture: Image.Image, side: int, kept: int, mode: CropMode, interpolation: Interpolation, fill: tuple[int, ...]
) -> Image.Image:
    """Resizes a picture and cuts out its middle, of `kept` by `kept` pixels, filled up where it is too small."""
    size = resized_size(picture.size, side, mode)
    left, top = (start(length, kept) for length in size)
    resampling = Image.Resampling[interpolation.upper()]
    if size[0] * size[1] > _MOST:
        box = (max(left, 0), max(top, 0), min(left + kept, size[0]), min(top + kept, size[1]))
        part, left, top = _part(picture, size, box, resampling), min(left, 0), min(top, 0)
    else:
        part = picture.resize(size, resampling)
    canvas = Image.new(picture.mode, (kept, kept), fill)
    canvas.paste(part, (-left, -top))
    return canvas


def _part(
    picture: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int], resampling: Image.Resampling
) -> Image.Image:
    """What `picture.resize(size, resampling).crop(box)` is, but for rounding between two passes; without the rest."""
    # Pillow takes the box in float32: its numbers must be small, so what is far from it is cut off before.
    source: list[int] = []
    inner: list[float] = []
    for axis in (0, 1):
        scale = picture.size[axis] / size[axis]
        reach = 3 * max(scale, 1) + 1  # of the widest filter
        first, last = box[axis] * scale, box[axis + 2] * scale
        low, high = max(0, math.floor(first - reach)), min(picture.size[axis], math.ceil(last + reach))
        source += [low, high]
        inner += [first - low, min(last - low, high - low)]
    cut = picture.crop((source[0], source[2], source[1], source[3]))
    return cut.resize((box[2] - box[0], box[3] - box[1]), resampling, box=(inner[0], inner[2], inner[1], inner[3]))
