"""Reads the operations of an ONNX file, and counts them."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto

from jds.cost._graph import Graph, Node, Tensor
from jds.exporting._counting import Padded, costs_of
from jds.exporting.onnx._file_constants import Constants
from jds.exporting.onnx._file_model import load
from jds.exporting.onnx._file_rounding import Step, in_integers
from jds.exporting.onnx._file_rules import Operator, cost_of
from jds.exporting.onnx._file_shapes import attributes_of, infer_shapes, known

# Operators of other domains may have the names of these and compute something else.
_STANDARD, _OF_RUNTIME = ("", "ai.onnx"), "com.microsoft"
_OTHERWISE_IN_RUNTIME = {"Attention"}


def read_graph(path: Path, *, batch: int = 1, count_padding: bool = True) -> Graph:
    """Reads a file.

    Args:
      path: the file.
      batch: the size of a batch, if the file leaves it open.
      count_padding: whether multiply-accumulates with padding are counted.

    Returns:
      Its operations as ONNX Runtime runs them: casts and transposes of constants are no operations, and nodes between
      pairs of QuantizeLinear and DequantizeLinear are computed in integers.

    Raises:
      UnreadableError: it is no ONNX file, or a shape is unknown.
    """
    model = load(path)
    opset = next((one.version for one in model.opset_import if one.domain in _STANDARD), 1)
    file = _File(model.graph, infer_shapes(model, batch), opset, count_padding)
    return file.read(model.graph.name or path.name)


class _File:
    """The graph of a file, with what is known of its tensors."""

    def __init__(self, graph: GraphProto, arrays: dict[str, Any], opset: int, count_padding: bool):
        self.graph, self.arrays, self.opset, self.count_padding = graph, arrays, opset, count_padding
        self.constants = Constants(graph, arrays)
        self.padded: dict[str, Padded] = {}
        # By its outputs, of each node with graphs: the nodes of these and of those inside, and what they read.
        self.inside = {tuple(node.output): list(self._inside(node, {})) for node in graph.node if any(_graphs(node))}

    def read(self, name: str) -> Graph:
        """Returns the graph."""
        results = tuple(value.name for value in self.graph.output)
        inputs = tuple(value.name for value in self.graph.input if value.name not in self.constants)
        steps = [_step(node) for node in self.graph.node if not self.constants.take(node)]
        steps = in_integers(steps, self.constants, self.arrays, results)
        read = {*results, *(name for step in steps for name in (*step.inputs, *self._captured(step.node)))}
        # Of results that nothing reads, such as the mask of a dropout, the shape may be unknown.
        steps = [
            step._replace(outputs=tuple(name if name in read or name in self.arrays else "" for name in step.outputs))
            for step in steps
        ]
        nodes = tuple(self._node(step) for step in steps)
        makers = {name: step.node for step in steps for name in step.outputs}
        used = dict.fromkeys((*inputs, *(name for node in nodes for name in (*node.inputs, *node.outputs)), *results))
        tensors = {name: self._tensor(name, makers.get(name, NodeProto())) for name in used}
        return Graph(name, tensors, nodes, inputs, results)

    def _node(self, step: Step) -> Node:
        node = step.node
        names = [self.constants.stored(name) for name in step.inputs]
        self.constants.note_parameters(node, names)
        for inner, read in self._inner(node):
            self.constants.note_parameters(inner, read)
        if node.op_type == "Pad":
            self._note_padding(step, names)
        for name in filter(None, step.outputs):
            known(self.arrays, name, node)
        costs = costs_of(cost_of, self._operator(step, names)) if self._may_have_rule(node) else (None, None)
        reads = dict.fromkeys(filter(None, (*names, *self._captured(node))))
        return Node(_layer(node), node.op_type, tuple(reads), tuple(filter(None, step.outputs)), *costs)

    def _may_have_rule(self, node: NodeProto) -> bool:
        is_of_runtime = node.domain == _OF_RUNTIME and node.op_type not in _OTHERWISE_IN_RUNTIME
        return (node.domain in _STANDARD or is_of_runtime) and not any(_graphs(node))

    def _operator(self, step: Step, names: Sequence[str]) -> Operator:
        node = step.node
        return Operator(
            kind=node.op_type,
            inputs=[known(self.arrays, name, node) if name else None for name in names],
            outputs=[known(self.arrays, name, node) if name else None for name in step.outputs],
            constants=[name in self.constants for name in step.inputs],
            attributes=attributes_of(node),
            value=lambda place: self._value(names, place),
            opset=self.opset,
            padded=self.padded.get(names[0]) if names else None,
            count_padding=self.count_padding,
        )

    def _value(self, names: Sequence[str], place: int) -> np.ndarray | None:
        return self.constants.value(names[place]) if len(names) > place else None

    def _note_padding(self, step: Step, names: Sequence[str]) -> None:
        """Notes what an array was before zeros were added, which a convolution of it does not multiply."""
        attributes = attributes_of(step.node)
        pads, value = self._value(names, 1), self._value(names, 2)
        widths = attributes.get("pads") if pads is None else [int(width) for width in pads]
        is_zero = not attributes.get("value") and (
            len(names) < 3 or not names[2] or (value is not None and not value.any())
        )
        if not widths or not is_zero or attributes.get("mode", "constant") != "constant" or any(names[3:]):
            return
        array = known(self.arrays, names[0], step.node)
        self.padded[step.outputs[0]] = Padded(array.shape, tuple(widths[: len(array.shape)]))

    def _captured(self, node: NodeProto) -> list[str]:
        """Returns what the graphs in a node read of the tensors around it, and their own constants."""
        return [name for _, names in self._inner(node) for name in names if name in self.arrays]

    def _inner(self, node: NodeProto) -> list[tuple[NodeProto, list[str]]]:
        found = self.inside.get(tuple(node.output), [])
        return [(inner, [self.constants.stored(name) for name in names]) for inner, names in found]

    def _inside(self, node: NodeProto, renamed: dict[str, str]) -> Iterator[tuple[NodeProto, list[str]]]:
        """Yields the nodes of the graphs in a node, whose constants get names that no other graph has."""
        for place, graph in enumerate(_graphs(node)):
            names = renamed | self.constants.hold(graph, f"{node.output[0]}/{place}")
            for inner in graph.node:
                yield inner, [names.get(name, name) for name in inner.input]
                yield from self._inside(inner, names)

    def _tensor(self, name: str, maker: NodeProto) -> Tensor:
        array = known(self.arrays, name, maker)
        return Tensor(array.shape, array.dtype.name, array.bytes, name in self.constants.parameters)


def _step(node: NodeProto) -> Step:
    return Step(node, tuple(node.input), tuple(node.output))


def _graphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _layer(node: NodeProto) -> str:
    """Returns the path of the module that a node belongs to, as its name has it, or PyTorch's exporter says it."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            # The last one is the node itself.
            return next((scope.replace(".", "/") for scope in reversed(_texts(entry.value)[:-1]) if scope), "")
    # ONNX Runtime calls a product with its activation "fused" and the product's name.
    return node.name.removeprefix("fused ").rpartition("/")[0].strip("/")


def _texts(value: str) -> list[str]:
    try:
        return [str(one) for one in ast.literal_eval(value)]
    except (SyntaxError, TypeError, ValueError):
        return []
