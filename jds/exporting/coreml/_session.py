"""Runs a Core ML package, on a Mac."""

import importlib.metadata
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jds._common.files import write_files
from jds.exporting._description import Description
from jds.exporting._formats import Session
from jds.exporting.coreml._interface import unlike
from jds.exporting.coreml._packages import packages, silent


def runs_here() -> bool:
    """Whether this system has Core ML."""
    return sys.platform == "darwin"


def open(content: Mapping[str, bytes]) -> Session:
    """Opens a package, given as its files by their paths in it.

    Raises:
      ModuleNotFoundError: this is no Mac.
    """
    if not runs_here():
        raise ModuleNotFoundError("export: a .mlpackage runs on Apple systems only; copy it to a Mac and open it there")
    folder = Path(tempfile.mkdtemp())
    write_files(folder / "a.mlpackage", content)
    with silent():
        model = packages().coremltools.models.MLModel(str(folder / "a.mlpackage"))
    described = Description.read(model.user_defined_metadata)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return _predict(model, described, arrays)

    weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    runtime = f"Core ML, coremltools {importlib.metadata.version('coremltools')}"
    return Session(runtime, described, run, _batch(model.get_spec().description.input[0].type))


def _batch(kind: Any) -> int | None:
    if kind.WhichOneof("Type") == "imageType":
        return 1
    return next(iter(kind.multiArrayType.shape), None)


def _predict(model: Any, described: Description | None, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    spec = model.get_spec().description
    inputs = {feature.name: _as_input(array, feature.type) for feature, array in zip(spec.input, arrays, strict=True)}
    results = model.predict(inputs)
    names = [feature.name for feature in spec.output if feature.name != spec.predictedFeatureName]
    return [_as_array(results[name], described) for name in names]


def _as_input(array: np.ndarray, kind: Any) -> Any:
    """Returns an array, or the image that it is, whether its channels are first or last."""
    if kind.WhichOneof("Type") != "imageType":
        return array
    (pixels,) = array
    is_last = pixels.shape[:2] == (kind.imageType.height, kind.imageType.width)
    pixels = pixels if is_last else np.moveaxis(pixels, 0, -1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _as_array(result: Any, described: Description | None) -> np.ndarray:
    if isinstance(result, dict) and described is not None:
        return np.array([[result[label] for label in unlike(described.labels)]], np.float32)
    return np.asarray(result)
