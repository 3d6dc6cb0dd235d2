"""Reads the operations of an ONNX file, and counts them."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from jds.cost._graph import Graph, Node, Tensor
from jds.exporting._counting import Array
from jds.exporting.onnx._file_rounding import Constant, Step, in_integers
from jds.exporting.onnx._file_rules import Operator, cost_of
from jds.exporting.onnx._file_shapes import attributes_of, infer_shapes, known, stored_array

_OF_RUNTIME = ("", "ai.onnx", "com.microsoft")
# Of constants with more elements, only shape and dtype are kept.
_SMALL = 256
# Done once when a file is loaded, if their input is a constant.
_MOVES = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
_CASTS = {"Identity", "Cast", "DequantizeLinear", "QuantizeLinear"}
# The places of inputs that are no weights even if they hold floating-point numbers; None for all.
_SETTINGS: dict[str, tuple[int, ...] | None] = {
    "Clip": (1, 2),
    "DequantizeLinear": (1, 2),
    "Dropout": (1, 2),
    "Pad": (1, 2, 3),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearAveragePool": None,
    "QLinearConcat": None,
    "QLinearGlobalAveragePool": None,
    "QLinearLeakyRelu": None,
    "QLinearReduceMean": None,
    "QLinearSigmoid": None,
    "QLinearSoftmax": None,
    "QuantizeLinear": (1, 2),
    "Range": None,
    "Resize": None,
    "Upsample": None,
}
# The places of weights that are integers.
_INTEGER_WEIGHTS = {
    "ConvInteger": (1,),
    "DynamicQuantizeMatMul": (1,),
    "MatMulInteger": (1,),
    "MatMulIntegerToFloat": (1,),
    "MatMulNBits": (1,),
    "QGemm": (3, 6),
    "QLinearAdd": (0, 3),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "QLinearMul": (0, 3),
}


def read_graph(path: Path, *, batch: int = 1, count_padding: bool = True) -> Graph:
    """Reads a file.

    Args:
      path: the file.
      batch: the size of a batch, if the file leaves it open.
      count_padding: whether multiply-accumulates with padding are counted.

    Returns:
      Its operations as ONNX Runtime runs them: what is computed from constants alone by casts and moves is no operation
      but a constant, and nodes between pairs of QuantizeLinear and DequantizeLinear are computed in integers.

    Raises:
      ValueError: it is no ONNX file, or a shape is unknown.
    """
    file = _File(_load(path), batch, count_padding)
    return file.read(path.name)


def _load(path: Path) -> ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # of protobuf, whose exceptions have no common base
        raise ValueError(f"read_cost: {str(path)!r} is no ONNX file, or is damaged: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise ValueError(f"read_cost: {str(path)!r} is no ONNX file, or is empty: it has no nodes")
    model = onnx.inliner.inline_local_functions(model) if model.functions else model
    for tensor in _tensors(model):
        if onnx.external_data_helper.uses_external_data(tensor):
            _settle(tensor, path.parent)
        elif stored_array(tensor).size > _SMALL:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
    return model


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.name == "value")


def _settle(tensor: TensorProto, folder: Path) -> None:
    """Reads a small constant from the file that holds it; forgets where a large one is."""
    if stored_array(tensor).size <= _SMALL and stored_array(tensor).is_integer:
        onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.DEFAULT


class _File:
    """A file, with what is known of its tensors."""

    def __init__(self, model: ModelProto, batch: int, count_padding: bool):
        graph = model.graph
        self.model, self.count_padding = model, count_padding
        self.opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 1)
        self.arrays = infer_shapes(model, batch)
        self.values = {tensor.name: tensor for tensor in graph.initializer}
        stored = [*self.values, *(tensor.values.name for tensor in graph.sparse_initializer)]
        self.constants = {name: Constant(name) for name in stored}
        # What is read as weights or biases, and the integers among the constants that stand for real numbers.
        self.parameters: set[str] = set()
        self.rounded: set[str] = set()

    def read(self, name: str) -> Graph:
        graph = self.model.graph
        results = tuple(value.name for value in graph.output)
        steps = [step for step in map(_step, graph.node) if not self._is_constant(step)]
        steps = in_integers(steps, self.constants, self.arrays, results)
        nodes = tuple(self._node(step) for step in steps)
        inputs = tuple(value.name for value in graph.input if value.name not in self.constants)
        used = dict.fromkeys((*inputs, *(name for node in nodes for name in (*node.inputs, *node.outputs)), *results))
        return Graph(graph.name or name, {name: self._tensor(name) for name in used}, nodes, inputs, results)

    def _is_constant(self, step: Step) -> bool:
        """Adds the result of a node to the constants, if it is one."""
        node, (out, *_) = step.node, step.outputs or ("",)
        if node.op_type == "Constant" and node.domain in _OF_RUNTIME:
            return self._add_constant(node, out)
        first = self.constants.get(step.inputs[0]) if step.inputs else None
        if first is None or node.op_type not in _MOVES | _CASTS or any(n not in self.constants for n in step.inputs if n):
            return False
        moves = node.op_type in _MOVES or node.op_type == "QuantizeLinear"
        if moves:
            dtype = self.arrays[out if node.op_type == "QuantizeLinear" else first.stored].dtype
            self.arrays[out] = Array(known(self.arrays, out, node).shape, dtype)
        is_rounded = first.is_rounded or node.op_type == "DequantizeLinear"
        self.constants[out] = Constant(out if moves else first.stored, is_rounded)
        if is_rounded:
            self.rounded.add(self.constants[out].stored)
        return True

    def _add_constant(self, node: NodeProto, out: str) -> bool:
        self.constants[out] = Constant(out)
        for attribute in node.attribute:
            if attribute.name == "value":
                self.values[out] = attribute.t
        return True

    def _node(self, step: Step) -> Node:
        node = step.node
        names = [self.constants[name].stored if name in self.constants else name for name in step.inputs]
        self._note_parameters(node.op_type, names)
        is_known = node.domain in _OF_RUNTIME and not any(_graphs(node))
        cost = cost_of(self._operator(step, names)) if is_known else None
        read = dict.fromkeys(filter(None, (*names, *self._captured(node))))
        return Node(_layer(node), node.op_type, tuple(read), tuple(filter(None, step.outputs)), cost)

    def _note_parameters(self, kind: str, names: list[str]) -> None:
        settings = _SETTINGS.get(kind, ())
        for place, name in enumerate(names):
            if name not in self.constants or settings is None or place in settings:
                continue
            array = self.arrays[name]
            is_number = array.shape == () and name not in self.rounded
            is_weight = name in self.rounded or place in _INTEGER_WEIGHTS.get(kind, ())
            if is_weight if array.is_integer else not is_number:
                self.parameters.add(name)

    def _operator(self, step: Step, names: list[str]) -> Operator:
        node = step.node
        return Operator(
            kind=node.op_type,
            inputs=[known(self.arrays, name, node) if name else None for name in names],
            outputs=[known(self.arrays, name, node) if name else None for name in step.outputs],
            constants=[name in self.constants for name in step.inputs],
            attributes=attributes_of(node),
            value=lambda place: self._value(names, place),
            opset=self.opset,
            count_padding=self.count_padding,
        )

    def _value(self, names: list[str], place: int) -> np.ndarray | None:
        tensor = self.values.get(names[place]) if len(names) > place else None
        if tensor is None or stored_array(tensor).size > _SMALL:
            return None
        try:
            return numpy_helper.to_array(tensor)
        except ValueError:  # a constant in another file
            return None

    def _captured(self, node: NodeProto) -> list[str]:
        """Returns what the graphs in a node read of the tensors around it."""
        inner = [name for graph in _graphs(node) for each in graph.node for name in (*each.input, *self._captured(each))]
        return [name for name in inner if name in self.arrays]

    def _tensor(self, name: str) -> Tensor:
        made_by = next((node for node in self.model.graph.node if name in node.output), NodeProto(name=name))
        array = known(self.arrays, name, made_by)
        return Tensor(array.shape, array.dtype.name, array.bytes, name in self.parameters)


def _step(node: NodeProto) -> Step:
    return Step(node, tuple(node.input), tuple(node.output))


def _graphs(node: NodeProto) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _layer(node: NodeProto) -> str:
    """Returns the path of the module that a node belongs to, as its name has it, or PyTorch's exporter says it."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = _texts(entry.value)[:-1]
            return next((scope.replace(".", "/") for scope in reversed(scopes) if scope), "")
    return node.name.rpartition("/")[0].strip("/")


def _texts(value: str) -> list[str]:
    try:
        return [str(one) for one in ast.literal_eval(value)]
    except (SyntaxError, TypeError, ValueError):
        return []
