"""Photographs, for comparison and for calibration."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jds.exporting._description import Description

# Neighboring pixels of photographs correlate by 0.8 or more, those of noise do not.
_LEAST_CORRELATION = 0.4


class Photographs(NamedTuple):
    """Photographs for a network.

    Attributes:
      given: as `Preprocessing` takes them.
      prepared: as the network in JAX takes them, `(n, image_size, image_size, channels)`.
    """

    given: Any
    prepared: np.ndarray


def photographs(description: Description | None, given: Any, option: str) -> Photographs:
    """Prepares photographs as a network in JAX takes them.

    Args:
      description: of the network; None for a function.
      given: the folder or file of photographs, searched with its subfolders; or images, as `Preprocessing` takes them.
      option: name of the option of `export` that they are for.

    Returns:
      The photographs.

    Raises:
      ValueError: there are no photographs, or the network's preprocessing is not known.
      TypeError: `given` is something else.
      OSError: a file cannot be read.
    """
    if description is None:
        raise ValueError(f"export: `{option}` is for networks of `jds.models`, which know how images are prepared")
    if description.preprocessing is None:
        raise ValueError(f"export: `{option}` needs the network's preprocessing; set `model.preprocessing` first")
    if isinstance(given, str | os.PathLike):
        given = _read(Path(given), option)
    if isinstance(given, bool | int | float) or (hasattr(given, "__len__") and len(given) == 0):
        raise TypeError(f"export: `{option}` must be photographs: a folder, or images, got {given!r}")
    return Photographs(given, description.prepared(given))


def batches(images: np.ndarray, size: Any) -> list[np.ndarray]:
    """Splits images into batches of a size, or one batch if it is symbolic; the last is filled with its first image."""
    if not isinstance(size, int):
        return [images]
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return [np.concatenate([part, *[part[:1]] * (size - len(part))]) for part in parts]


def check_natural(images: np.ndarray, option: str) -> None:
    """Raises ValueError if the images are noise, or all of one color: ranges of activations would be wrong."""
    # Differences from the mean of each channel, which the normalization of an image of one color leaves.
    values = images.astype(np.float64) - images.mean((0, 1, 2), dtype=np.float64)
    products = (values[:, :, :-1] * values[:, :, 1:]).mean()
    correlation = float(products / max(np.square(values).mean(), 1e-12))
    if correlation < _LEAST_CORRELATION:
        raise ValueError(
            f"export: `{option}` must be photographs like those that the network will see; these images look made up: "
            f"neighboring pixels correlate by {correlation:.2f} only. Calibrated on noise, a network answers wrongly"
        )


def _read(path: Path, option: str) -> list[Any]:
    from jds.models.pictures import IMAGE_SUFFIXES, is_leftover, open_image  # Pillow is slow to import

    found = [path] if path.is_file() else sorted(path.rglob("*"))
    files = [file for file in found if file.suffix.lower() in IMAGE_SUFFIXES and not is_leftover(file)]
    if not path.exists():
        raise FileNotFoundError(f"export: `{option}` names a folder that does not exist: '{path}'")
    if not files:
        raise ValueError(f"export: `{option}` names a folder without images: '{path}'")
    return [open_image(file) for file in files]
