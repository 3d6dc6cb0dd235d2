"""Builds the folder of a page."""

import dataclasses
import json
from pathlib import Path

from jds.exporting._description import Description
from jds.exporting.page import _web
from jds.exporting.page._runtime import PACKAGES, Kind, runtime_files


def build(
    model: bytes, kind: Kind, description: Description, runtime: Path | None = None, size: int | None = None
) -> dict[str, bytes]:
    """Returns the files of a page that classifies photographs with an exported network.

    The page is static: any server can serve it, and it requests nothing from elsewhere. It preprocesses photographs as
    the network's preprocessing does, to the same numbers.

    Args:
      model: the network, which takes one image and returns logits or probabilities.
      kind: its format. LiteRT runs `"tflite"`, and ONNX Runtime `"onnx"`.
      description: how to call it; the preprocessing must be known.
      runtime: folder of the npm package of the runtime; by default, npm fetches it.
      size: height and width of the images that the network takes; by default those of the preprocessing.

    Returns:
      The files, by their paths in the folder; `index.html` is the page.

    Raises:
      ValueError: the network does not classify images, or `runtime` is not the package.
      ImportError: `runtime` is None, and npm is not installed.
      OSError: npm could not fetch the package.

    Example:
      >>> from jds.exporting._description import Description
      >>> from jds.exporting.page import build
      >>> build(b"", "onnx", Description("v2", "NCHW", False, "features", None))
      Traceback (most recent call last):
      ValueError: export: a page shows classes, but v2 returns features
    """
    preprocessing = description.preprocessing
    if description.output == "features":
        raise ValueError(f"export: a page shows classes, but {description.name} returns features")
    if preprocessing is None:
        raise ValueError("export: a page needs to know the preprocessing; set `model.preprocessing` first")
    if kind == "tflite" and description.layout != "NHWC":
        raise ValueError(f"export: a page with a .tflite file needs layout 'NHWC', got {description.layout!r}")
    if size is not None:
        preprocessing = dataclasses.replace(preprocessing, image_size=size)
    package = PACKAGES[kind]
    described = {
        "name": description.name,
        "model": f"model.{kind}",
        "runtime": f"{package.title} {package.version}",
        "layout": description.layout,
        "input": "pixels" if description.pixels else "normalized",
        "output": description.output,
        "preprocessing": dataclasses.asdict(preprocessing),
        "labels": description.labels,
    }
    files = {
        f"model.{kind}": model,
        "description.json": json.dumps(described, ensure_ascii=False, indent=1).encode(),
        **_web.own_files(kind),
        **runtime_files(kind, runtime),
    }
    return {"index.html": _web.html_of_folder(_web.imports(files)).encode(), **files}
