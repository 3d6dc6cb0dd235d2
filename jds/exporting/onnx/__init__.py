"""ONNX, https://onnx.ai: arrays are stored with channels first, and known functions are written as single nodes."""

import importlib
from typing import Any

from jds.exporting._formats import Calibration, Converted, require
from jds.exporting._options import Options
from jds.exporting._prepare import Prepared
from jds.exporting.onnx._session import open as open


def convert(prepared: Prepared, options: Options, calibration: Calibration | None) -> Converted:
    """Converts a program to a file.

    Raises:
      NotImplementedError: an equation has no form in ONNX.
      ValueError: there is no such opset.
      ImportError: the package `onnx` is not installed.
    """
    require("onnx", "onnx", "ONNX")
    model: Any = importlib.import_module("jds.exporting.onnx._model")
    return model.convert(prepared, options, calibration)
