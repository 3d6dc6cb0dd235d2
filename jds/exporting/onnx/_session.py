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
    inputs = session.get_inputs()
    names = [value.name for value in inputs]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, arrays, strict=True)))

    return Session(
        runtime=f"ONNX Runtime {importlib.metadata.version('onnxruntime')}",
        description=Description.read(session.get_modelmeta().custom_metadata_map),
        run=run,
        # A free size has a name.
        batch=next((size for size in inputs[0].shape[:1] if isinstance(size, int)), None),
    )
