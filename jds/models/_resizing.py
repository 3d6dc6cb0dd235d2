"""Center crops of resized pictures, as in torchvision and timm."""

import math

from PIL import Image

from jds.models._preprocessing import CropMode, Interpolation

# For resized pictures with more pixels than this (256 MiB), only the part that is kept is computed.
_MOST = 2**26


def resized_size(size: tuple[int, int], side: int, mode: CropMode) -> tuple[int, int]:
    """Returns the size that an image is resized to.

    Args:
      size: width and height of the image.
      side: target length of the shorter side, of the longer side with mode `"border"`, or of both with `"squash"`.
      mode: as in `Preprocessing`.

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
    """Returns the start of a centered interval of length `kept`; negative if `kept` exceeds `length`."""
    return round((length - kept) / 2) if length >= kept else -((kept - length) // 2)


def middle(
    picture: Image.Image, side: int, kept: int, mode: CropMode, interpolation: Interpolation, fill: tuple[int, ...]
) -> Image.Image:
    """Resizes a picture and crops its center to `kept` by `kept` pixels, filling any area outside it with `fill`."""
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
    """Returns `picture.resize(size, resampling).crop(box)`, up to rounding, without computing the rest."""
    # Pillow stores the box in float32, so its coordinates must be small: first crop what is far from the box.
    source: list[int] = []
    inner: list[float] = []
    for axis in (0, 1):
        scale = picture.size[axis] / size[axis]
        reach = 3 * max(scale, 1) + 1  # support of the widest filter
        first, last = box[axis] * scale, box[axis + 2] * scale
        low, high = max(0, math.floor(first - reach)), min(picture.size[axis], math.ceil(last + reach))
        source += [low, high]
        inner += [first - low, min(last - low, high - low)]
    cut = picture.crop((source[0], source[2], source[1], source[3]))
    return cut.resize((box[2] - box[0], box[3] - box[1]), resampling, box=(inner[0], inner[2], inner[1], inner[3]))
