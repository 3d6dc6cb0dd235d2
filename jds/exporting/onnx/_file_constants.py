"""The constants of an ONNX file, and which of them are parameters."""

from collections.abc import Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from jds.exporting._counting import Array
from jds.exporting.onnx._file_model import has_content
from jds.exporting.onnx._file_shapes import attributes_of, known, stored_array

# Done once when a file is loaded, if all inputs are constants.
_MOVES = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "QuantizeLinear"}
_CASTS = {"Identity", "Cast", "DequantizeLinear"}
# The places of inputs that are no weights even if they hold floating-point numbers; None for all.
_SETTINGS: dict[str, tuple[int, ...] | None] = {
    "Clip": (1, 2),
    "DequantizeLinear": (1, 2),
    "Dropout": (1, 2),
    "MatMulNBits": (2, 3, 4),
    "Pad": (1, 2, 3),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearAveragePool": None,
    "QLinearConcat": None,
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearGlobalAveragePool": None,
    "QLinearLeakyRelu": None,
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QLinearReduceMean": None,
    "QLinearSigmoid": None,
    "QLinearSoftmax": None,
    "QuantizeLinear": (1, 2),
    "Range": None,
    "Resize": None,
    "Upsample": None,
}
# The places of weights that are integers. Other integers are shapes, axes and indices.
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


class Constant(NamedTuple):
    """A tensor that the file holds.

    Attributes:
      stored: name of what the file holds of it: weights that are cast when the file is loaded are read as stored.
      is_rounded: whether what is stored stands for real numbers by a scale of rounding.
    """

    stored: str
    is_rounded: bool = False


class Constants:
    """The constants of a graph.

    Args:
      graph: the graph.
      arrays: shapes and dtypes, to which those of transposed constants are added.
    """

    def __init__(self, graph: GraphProto, arrays: dict[str, Array]):
        self.arrays = arrays
        self.parameters: set[str] = set()
        self._values: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        stored = [*self._values, *(tensor.values.name for tensor in graph.sparse_initializer)]
        self._known = {name: Constant(name) for name in stored}
        self._rounded: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> Constant:
        return self._known[name]

    def stored(self, name: str) -> str:
        """Returns what a tensor is read from."""
        return self._known[name].stored if name in self._known else name

    def hold(self, graph: GraphProto, prefix: str) -> dict[str, str]:
        """Adds the constants of a graph inside of a node; returns their names with a prefix, by those in the graph."""
        nodes = [node for node in graph.node if node.op_type == "Constant"]
        found = {node.output[0]: one.t for node in nodes for one in node.attribute if one.name == "value"}
        found |= {tensor.name: tensor for tensor in graph.initializer}
        renamed = {name: f"{prefix}/{name}" for name in found}
        for name, tensor in found.items():
            self.arrays[renamed[name]] = stored_array(tensor)
            self._known[renamed[name]] = Constant(renamed[name])
        return renamed

    def take(self, node: NodeProto) -> bool:
        """Adds the result of a node if that is a constant; returns whether it is."""
        if node.op_type == "Constant":
            self._known[node.output[0]] = Constant(node.output[0])
            for attribute in node.attribute:
                if attribute.name == "value":
                    self._values[node.output[0]] = attribute.t
            return True
        is_done_once = node.op_type in _MOVES | _CASTS and all(name in self for name in node.input if name)
        if is_done_once:
            self._follow(node, self[node.input[0]])
        return is_done_once

    def _follow(self, node: NodeProto, first: Constant) -> None:
        out, kind = node.output[0], node.op_type
        if kind in _MOVES:
            dtype = self.arrays[out if kind == "QuantizeLinear" else first.stored].dtype
            self.arrays[out] = Array(known(self.arrays, out, node).shape, dtype)
        constant = Constant(out if kind in _MOVES else first.stored, first.is_rounded or kind == "DequantizeLinear")
        self._known[out] = constant
        if constant.is_rounded:
            self._rounded.add(constant.stored)

    def note_parameters(self, node: NodeProto, names: Sequence[str]) -> None:
        """Notes which of a node's inputs, as stored, are weights and biases."""
        settings = _SETTINGS.get(node.op_type, ())
        for place, name in enumerate(names):
            if name in self and settings is not None and place not in settings and self._is_weight(node, place, name):
                self.parameters.add(name)
        if node.op_type == "MatMulNBits":
            self._unpack(node, names[1])

    def _is_weight(self, node: NodeProto, place: int, name: str) -> bool:
        if self.arrays[name].is_integer:
            return name in self._rounded or place in _INTEGER_WEIGHTS.get(node.op_type, ())
        # A single number is a factor or a limit.
        return self.arrays[name].shape != ()

    def _unpack(self, node: NodeProto, weights: str) -> None:
        values = attributes_of(node)
        if values["bits"] == 4 and weights in self:
            self.arrays[weights] = Array((values["N"], values["K"]), np.dtype(ml_dtypes.uint4))

    def value(self, name: str) -> np.ndarray | None:
        """Returns the content of a small constant, or None."""
        tensor = self._values.get(name)
        return numpy_helper.to_array(tensor) if tensor is not None and has_content(tensor) else None
