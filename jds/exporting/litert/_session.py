"""Runs LiteRT files in its interpreter, whose kernels on the CPU are XNNPACK's."""

import importlib
import importlib.metadata
import os
from collections.abc import Sequence

import numpy as np

from jds.exporting._attached import attached
from jds.exporting._formats import Session
from jds.exporting._quiet import quiet


def open(content: bytes) -> Session:
    """Opens a file in the interpreter.

    Raises:
      ModuleNotFoundError: the interpreter is not installed.
      ValueError: the file is damaged, or holds an operation that the interpreter does not have.
    """
    with quiet():
        module = importlib.import_module("ai_edge_litert.interpreter")
        interpreter = module.Interpreter(model_content=content, num_threads=os.cpu_count())
        interpreter.allocate_tensors()
    # The order of the signature is alphabetic, that of the details is the file's.
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        for details, array in zip(inputs, arrays, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(details["index"]) for details in outputs]

    batch = next((int(size) for size in inputs[0]["shape"][:1]), None)
    return Session(f"LiteRT {importlib.metadata.version('ai-edge-litert')}", attached(content), run, batch)
