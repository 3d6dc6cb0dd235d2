"""Makes the pages to check, and photographs to choose."""

import importlib
import importlib.resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

import jds
from jds.exporting.page import PACKAGES, fetch

NETWORK = "tf_efficientnet_lite0"


def write_pages(model: Any, node_modules: Path | None, folder: Path) -> list[Path]:
    """Writes a folder and one file for each runtime, named by the kind of the network's file."""
    written = []
    for kind, package in PACKAGES.items():
        (folder / f"{kind}-package").mkdir()
        runtime = fetch(package, folder / f"{kind}-package") if node_modules is None else node_modules / package.name
        for path in (folder / kind, folder / f"{kind}.html"):
            jds.export(model, path, runtime=runtime)
            written.append(path)
    return written


def write_photographs(folder: Path) -> dict[str, Path]:
    """Writes photographs that are hard to read right, all made of real ones."""
    images = Path(str(importlib.import_module("sklearn.datasets").__file__)).parent / "images"
    china, flower = (Image.open(images / name).convert("RGB") for name in ("china.jpg", "flower.jpg"))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    ramp = Image.fromarray(np.tile(np.arange(china.width, dtype=np.uint8), (china.height, 1)))
    with_alpha = china.copy()
    with_alpha.putalpha(ramp)
    large = flower.resize((6000, 4003), Image.Resampling.BICUBIC)
    written = {
        "jpeg": images / "china.jpg",
        "png": save(flower, folder / "flower.png"),
        "turned": save(flower, folder / "turned.jpg", exif=turned, quality=95, subsampling=0),
        "alpha": save(with_alpha, folder / "alpha.png"),
        "gray": save(china.convert("L"), folder / "gray.png"),
        "large": save(large, folder / "large.png", compress_level=1),
        "large jpeg": save(large, folder / "large.jpg", quality=90),
        "narrow": save(china.crop((100, 0, 120, 420)), folder / "narrow.png"),
        "profile": save(flower, folder / "profile.png", icc_profile=swapped_profile()),
        "small": save(china.resize((40, 31)), folder / "small.png"),
    }
    return written


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def swapped_profile() -> bytes:
    """A color profile with red and green swapped, which must not matter: jds reads the numbers as they are."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.find(b"rXYZ") + 4, profile.find(b"gXYZ") + 4
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile)
