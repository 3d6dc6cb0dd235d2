"""Loads an ONNX file without its weights."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, external_data_helper, inliner

from jds.exporting._unreadable import UnreadableError
from jds.exporting.onnx._file_shapes import stored_array

# Of constants with more elements, only shape and dtype are kept; shapes and axes have fewer.
_SMALL = 256
_CONTENT = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def load(path: Path) -> ModelProto:
    """Loads a file, with the functions that it defines inlined, and without the contents of large constants.

    Raises:
      UnreadableError: it is no ONNX file, or is damaged.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError:
        raise
    except Exception as error:  # of protobuf, whose exceptions have no common base
        raise UnreadableError(f"read_cost: {str(path)!r} is no ONNX file, or is damaged: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise UnreadableError(f"read_cost: {str(path)!r} is no ONNX file, or is damaged: it has no nodes")
    model = inliner.inline_local_functions(model) if model.functions else model
    for tensor in _constants(model):
        _settle(tensor, path.parent)
    return model


def has_content(tensor: TensorProto) -> bool:
    """Whether the content of a constant was kept."""
    return stored_array(tensor).size <= _SMALL and tensor.data_location != TensorProto.EXTERNAL


def _constants(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.name == "value")


def _settle(tensor: TensorProto, folder: Path) -> None:
    """Reads a small constant from the file that holds it; forgets the content of a large one."""
    is_small, is_elsewhere = stored_array(tensor).size <= _SMALL, external_data_helper.uses_external_data(tensor)
    if is_elsewhere and is_small and stored_array(tensor).is_integer:
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:  # of ONNX's checks of the path
            raise UnreadableError(f"read_cost: a constant of this ONNX file is in another file: {error}") from error
    if is_elsewhere:
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
    if not is_small:
        for field in _CONTENT:
            tensor.ClearField(field)
