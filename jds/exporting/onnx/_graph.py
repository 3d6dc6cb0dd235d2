"""An ONNX graph under construction."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jds.exporting.onnx._tensors import Tensor


@dataclasses.dataclass(eq=False)
class Node:
    """An operation of the graph; its inputs are names of tensors, or constants."""

    name: str
    op: str
    inputs: list[str | np.ndarray | None]
    outputs: list[str]
    attributes: dict[str, Any]
    scope: str


class Graph:
    """The nodes of a graph, in order, and the names in use."""

    def __init__(self, opset: int):
        self.opset = opset
        self.nodes: list[Node] = []
        self.made_by: dict[str, Node] = {}
        self._names: dict[str, int] = {}
        self._outputs: set[str] = set()

    def name(self, wanted: str) -> str:
        """Returns a name that is not in use: the wanted one, or with a number."""
        number = self._names.get(wanted, 0)
        self._names[wanted] = number + 1
        return f"{wanted}_{number}" if number else wanted

    def add(self, op: str, inputs: Sequence[str | np.ndarray | None], scope: str, outputs: int = 1, **attributes: Any):
        """Adds a node; returns it. The attributes that are None are left out."""
        name = f"{scope}/{op}" if scope else op
        attributes = {key: value for key, value in attributes.items() if value is not None}
        names = [self.name(name) for _ in range(outputs)]
        node = Node(names[0], op, list(inputs), names, attributes, scope)
        self.nodes.append(node)
        self.made_by |= dict.fromkeys(node.outputs, node)
        return node

    def output(self, value: str | np.ndarray, wanted: str) -> str:
        """Makes a value an output of this name; returns the name."""
        name = self.name(wanted)
        node = self.made_by.get(value) if isinstance(value, str) else None
        if node is None or value in self._outputs:
            node, value = self.add("Identity", [value], ""), ""
            value = node.outputs[0]
        for other in self.nodes:
            other.inputs = [name if isinstance(one, str) and one == value else one for one in other.inputs]
        node.outputs = [name if one == value else one for one in node.outputs]
        self.made_by[name] = node
        self._outputs.add(name)
        return name

    def model(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], name: str) -> onnx.ModelProto:
        """Returns the model with the nodes that the outputs need."""
        nodes = self._needed([tensor.name for tensor in outputs])
        constants = _Constants(self)
        protos = [
            helper.make_node(
                node.op,
                [constants.name(value, node, place) for place, value in enumerate(node.inputs)],
                node.outputs,
                name=node.name,
                **node.attributes,
            )
            for node in nodes
        ]
        graph = helper.make_graph(
            protos, name, [_info(tensor) for tensor in inputs], [_info(tensor) for tensor in outputs], constants.tensors
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets, ignore_unknown=True),
            producer_name="jds",
        )

    def _needed(self, names: list[str]) -> list[Node]:
        needed, rest = set(), list(names)
        while rest:
            node = self.made_by.get(rest.pop())
            if node is not None and id(node) not in needed:
                needed.add(id(node))
                rest += [value for value in node.inputs if isinstance(value, str)]
        return [node for node in self.nodes if id(node) in needed]


class _Constants:
    """The constants of a graph, each once."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.tensors: list[TensorProto] = []
        self._known: dict[tuple, str] = {}

    def name(self, value: str | np.ndarray | None, node: Node, place: int) -> str:
        """Returns the name of an input of a node, which is added if it is a new constant."""
        if not isinstance(value, np.ndarray):
            return value or ""
        value = np.ascontiguousarray(value).reshape(value.shape)
        key = value.dtype.str, value.shape, value.tobytes()
        if key not in self._known:
            kinds = {("Conv", 1): "weight", ("Conv", 2): "bias", ("Gemm", 1): "weight", ("Gemm", 2): "bias"}
            kind = kinds.get((node.op, place), "constant")
            name = self.graph.name(f"{node.scope}/{kind}" if node.scope else kind)
            self.tensors.append(numpy_helper.from_array(value, name))
            self._known[key] = name
        return self._known[key]


def _info(tensor: Tensor) -> onnx.ValueInfoProto:
    shape = [size if isinstance(size, int) else str(size) for size in tensor.stored]
    return helper.make_tensor_value_info(tensor.name, helper.np_dtype_to_tensor_dtype(tensor.dtype), shape)
