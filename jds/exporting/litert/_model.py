"""Reads the flatbuffer of a LiteRT file."""

import collections
from typing import Any

from jds.exporting._formats import require


def schema() -> Any:
    """Returns the module generated from LiteRT's schema."""
    return require("litert_converter.schema_py_generated", "litert", "LiteRT")


def read(content: bytes) -> Any:
    """Returns the model in a file."""
    return schema().ModelT.InitFromPackedBuf(content, 0)


def layers(model: Any) -> dict[str, int]:
    """Returns the number of operations of each kind, the most frequent first."""
    names = {code: name for name, code in vars(schema().BuiltinOperator).items() if not name.startswith("_")}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    kinds = [names[codes[operator.opcodeIndex]] for graph in model.subgraphs for operator in graph.operators]
    return dict(collections.Counter(kinds).most_common())


def described(model: Any) -> tuple[list[str], list[str]]:
    """Returns shape and dtype of each input and output."""
    graph = model.subgraphs[0]
    dtypes = {code: name.lower() for name, code in vars(schema().TensorType).items() if not name.startswith("_")}

    def words(tensor: Any) -> str:
        return f"{dtypes[tensor.type]}[{','.join(map(str, tensor.shape))}]"

    inputs, outputs = ([words(graph.tensors[place]) for place in part] for part in (graph.inputs, graph.outputs))
    return inputs, outputs
