"""Runs ONNX files in ONNX Runtime."""

import importlib
import importlib.metadata
from collections.abc import Sequence

import numpy as np

from jds.exporting._description import Description
from jds.exporting._formats import Session


def open(content: bytes) -> Session:
    """Opens a file in ONNX Runtime.

    Raises:
      ModuleNotFoundError: ONNX Runtime is not installed.
    """
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, arrays, strict=True)))

    return Session(
        runtime=f"ONNX Runtime {importlib.metadata.version('onnxruntime')}",
        description=Description.read(session.get_modelmeta().custom_metadata_map),
        run=run,
    )
