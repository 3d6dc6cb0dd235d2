"""Reads the flatbuffer of a LiteRT file."""

import functools
import importlib
from typing import Any, NamedTuple

import flatbuffers

from jds.exporting._formats import counted, in_words, require


def schema() -> Any:
    """Returns the module generated from LiteRT's schema: the interpreter's where there is no converter."""
    try:
        return importlib.import_module("litert_converter.schema_py_generated")
    except ModuleNotFoundError:
        return require("ai_edge_litert.schema_py_generated", "litert", "LiteRT")


def read(content: bytes) -> Any:
    """Returns the model in a file."""
    return schema().ModelT.InitFromPackedBuf(content, 0)


def packed(model: Any) -> bytes:
    """Returns the file of a model."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class Operation(NamedTuple):
    """An operation of a model.

    Attributes:
      kind: name of the operator.
      output_dtypes: dtypes of its results.
    """

    kind: str
    output_dtypes: tuple[str, ...]


def described_operations(model: Any) -> list[Operation]:
    """Returns the operations of a model."""
    return [
        Operation(kind_of(model, operator), tuple(dtype_of(graph.tensors[place]) for place in operator.outputs))
        for graph in model.subgraphs
        for operator in graph.operators
    ]


def kind_of(model: Any, operator: Any) -> str:
    """Returns the name of an operator of a model: of one that LiteRT does not have, its own."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if code.customCode:
        return code.customCode.decode(errors="replace")
    return _names(schema().BuiltinOperator).get(number, f"BUILTIN_{number}")


def result_names(model: Any) -> list[str]:
    """Returns the names of the first results of all operations."""
    graph = model.subgraphs[0]
    return [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators]


def layers(model: Any) -> dict[str, int]:
    """Returns the number of operations of each kind, the most frequent first."""
    return counted(operation.kind for operation in described_operations(model))


def described(model: Any) -> tuple[list[str], list[str]]:
    """Returns shape and dtype of each input and output."""
    graph = model.subgraphs[0]

    def words(tensor: Any) -> str:
        return in_words(dtype_of(tensor), tensor.shape)

    inputs, outputs = ([words(graph.tensors[place]) for place in part] for part in (graph.inputs, graph.outputs))
    return inputs, outputs


def dtype_of(tensor: Any) -> str:
    """Returns the dtype of a tensor of a model."""
    return _names(schema().TensorType)[tensor.type].lower()


@functools.cache
def _names(enum: Any) -> dict[int, str]:
    return {code: name for name, code in vars(enum).items() if not name.startswith("_")}
