"""Reads what an exported file computes."""

import importlib
import os
from pathlib import Path
from typing import Any

from jds.cost._graph import Graph
from jds.cost._program import check_count_padding
from jds.exporting._formats import require
from jds.exporting._unreadable import UnreadableError


def read_cost(path: str | os.PathLike[str], *, batch: int = 1, count_padding: bool = True) -> Graph:
    """Reads the operations of a file for another runtime, and counts each by the conventions of `jds.cost.Counts`.

    The file may be of any origin. What its runtime does once, when it loads the file, is not counted: casts and
    transposes of constants. Operations in integers count as such; their rounding belongs to them. An operation with an
    activation counts as both.

    Args:
      path: an `.onnx` or `.tflite` file.
      batch: the size of a batch, if the file leaves it open.
      count_padding: whether to count multiply-accumulates with padding, as papers do.

    Returns:
      The operations in order. Those without a rule have no cost, and make every total a lower bound.

    Raises:
      ValueError: the ending is unknown, the file is damaged, or the shape of an array is unknown.
      ImportError: a package is not installed; the message says which.
      OSError: the file cannot be read.

    Example:
      >>> import tempfile, jds
      >>> from jds.exporting import read_cost
      >>> model = jds.create_model("mobilenetv3_small_050")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     report = jds.export(model, f"{folder}/small.onnx", image_size=64)
      ...     graph = read_cost(f"{folder}/small.onnx")
      >>> graph.nodes[0].layer, graph.nodes[0].operation, graph.nodes[0].cost.counts.macs
      ('stem/conv', 'Conv', 442368)
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise ValueError(f"read_cost: `path` must end in {' or '.join(_READERS)}, got {str(path)!r}")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ValueError(f"read_cost: `batch` must be a positive int, got {batch!r}")
    check_count_padding("read_cost", count_padding)
    if not path.exists():
        raise FileNotFoundError(f"read_cost: there is no file {str(path)!r}")
    package, extra, words, reader = _READERS[path.suffix.lower()]
    require(package, extra, words)
    module: Any = importlib.import_module(reader)
    try:
        return module.read_graph(path, batch=batch, count_padding=count_padding)
    except (OSError, UnreadableError):
        raise
    except Exception as error:  # wherever a reader finds that something is not there
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableError(
            f"read_cost: {str(path)!r} is damaged, or has a form that is not known: {reason}"
        ) from error


# By the ending of the path: the package that reading needs, its extra, the format in words, and the reader.
_READERS = {
    ".onnx": ("onnx", "onnx", "ONNX", "jds.exporting.onnx._read_cost"),
    ".tflite": (
        "ai_edge_litert.schema_py_generated",
        "litert",
        "LiteRT",
        "jds.exporting.litert._read_cost",
    ),
}
