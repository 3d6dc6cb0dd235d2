"""Writes the equations of a program as nodes of an ONNX graph."""

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from jax.extend.core import Var

from jds.exporting._equations import Equation, Program, Value
from jds.exporting._sizes import is_size, same_shape
from jds.exporting.onnx._graph import Graph, Node
from jds.exporting.onnx._tensors import Order, Tensor, channels_first, groups_of

# What an equation is written from: an array of the graph, or a constant in the program's order of axes.
Operand = Tensor | np.ndarray
Handler = Callable[..., Any]

HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler for equations of these names, called as `handler(writer, equation, *operands)`."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


class Writer:
    """The graph so far, and the tensors that the variables of the program became."""

    def __init__(self, program: Program, opset: int):
        self.graph = Graph(opset)
        self.readers = program.readers()
        self._tensors: dict[Var, Tensor] = {}
        self._vars_of: dict[str, list[Var]] = {}
        self.scope = ""

    @property
    def opset(self) -> int:
        """The version of ONNX's operators."""
        return self.graph.opset

    # Values of the program.

    def define(self, var: Var, tensor: Tensor) -> None:
        """Says which tensor a variable became."""
        self._tensors[var] = tensor
        self._vars_of.setdefault(tensor.name, []).append(var)

    def operand(self, value: Value) -> Any:
        """Returns what a value of the program became."""
        if isinstance(value, np.ndarray):
            return value.astype(graph_dtype(value.dtype), copy=False)
        return self._tensors[value]

    def is_read_once(self, tensor: Tensor) -> bool:
        """Whether a tensor is read by the present equation only."""
        variables = self._vars_of.get(tensor.name, [])
        # Each variable after the first was defined by an equation that read another one and added no node.
        return sum(self.readers[var] for var in variables) - len(variables) == 0

    def maker(self, operand: Operand, *ops: str) -> Node | None:
        """Returns the node that computes a tensor, if it is one of these, and the present equation may change it."""
        if not isinstance(operand, Tensor):
            return None
        node = self.graph.made_by.get(operand.name)
        return node if node is not None and node.op in ops and self.is_read_once(operand) else None

    # Nodes.

    def add(self, op: str, *inputs: Tensor | np.ndarray | str | None, outputs: int = 1, **attributes: Any) -> Node:
        """Adds a node; tensors are passed as they are stored."""
        names = [value.name if isinstance(value, Tensor) else value for value in inputs]
        return self.graph.add(op, names, self.scope, outputs, **attributes)

    def tensor(self, node: Node, shape: Sequence[Any], order: Order, dtype: Any, place: int = 0) -> Tensor:
        """Returns a result of a node as a tensor; `shape` is in the order of the program."""
        return Tensor(node.outputs[place], tuple(shape), tuple(shape), order, graph_dtype(dtype))

    def shape_input(self, sizes: Sequence[Any]) -> np.ndarray:
        """Returns sizes as an input of Reshape; one of them may be symbolic."""
        symbolic = [size for size in sizes if not isinstance(size, int)]
        if len(symbolic) > 1:
            raise UnsupportedError(f"a shape with more than one free size, {tuple(map(str, sizes))}")
        return np.asarray([size if isinstance(size, int) else -1 for size in sizes], np.int64)

    # Orders.

    def in_order(self, operand: Any, order: Order) -> Any:
        """Returns a tensor with its axes stored in this order; a constant, with its axes in this order."""
        if isinstance(operand, np.ndarray):
            return shrunk(operand).transpose(order) if operand.ndim else operand
        if operand.order == order or not operand.order:
            return operand
        permutation = [operand.position(axis) for axis in order]
        stored = [operand.stored[place] for place in permutation]
        if _same_elements(operand.stored, stored, permutation):
            node = self.add("Reshape", operand, self.shape_input(stored))
        else:
            node = self.add("Transpose", operand, perm=permutation)
        return Tensor(node.outputs[0], operand.sizes, operand.shape, order, operand.dtype)

    def full(self, operand: Any) -> Any:
        """Returns an operand whose axes are all present; of a constant that was broadcast, all copies."""
        if isinstance(operand, np.ndarray):
            return np.array(operand, order="C", copy=None)
        if operand.is_full:
            return operand
        if not all(isinstance(size, int) for size in operand.shape):
            raise UnsupportedError("an array that is broadcast along a free axis")
        stored = np.asarray([operand.shape[axis] for axis in operand.order], np.int64)
        node = self.add("Expand", operand, stored)
        return Tensor(node.outputs[0], operand.shape, operand.shape, operand.order, operand.dtype)

    def reshaped(self, tensor: Tensor, shape: Sequence[Any]) -> Tensor:
        """Reshapes a tensor, without a transpose if the axes that are merged or divided lie together as they should."""
        shape, groups = tuple(shape), groups_of(tensor.shape, tuple(shape))
        kept = [[axis for axis in group.before if not is_size(tensor.shape[axis], 1)] for group in groups]
        if not _lie_together(kept, [axis for axis in tensor.order if not is_size(tensor.shape[axis], 1)]):
            tensor = self.in_order(tensor, tuple(range(len(tensor.shape))))
        places = sorted(range(len(groups)), key=lambda place: min(map(tensor.position, kept[place]), default=-1))
        wanted = [axis for place in places for axis in groups[place].after if not is_size(shape[axis], 1)]
        order = _order_with(wanted, shape)
        stored = [shape[axis] for axis in order]
        if same_shape(stored, tensor.stored):
            return Tensor(tensor.name, shape, shape, order, tensor.dtype)
        return self.tensor(self.add("Reshape", tensor, self.shape_input(stored)), shape, order, tensor.dtype)

    # Equations.

    def write(self, equation: Equation) -> None:
        """Writes an equation."""
        handler = HANDLERS.get(equation.name)
        if handler is None:
            raise UnsupportedError("no ONNX form of it is known")
        results = handler(self, equation, *map(self.operand, equation.inputs))
        results = [results] if isinstance(results, Tensor) else results
        for var, result in zip(equation.outputs, results, strict=True):
            self.define(var, result)


class UnsupportedError(Exception):
    """An equation has no form in ONNX; says why."""


def graph_dtype(dtype: Any) -> np.dtype:
    """The dtype in the graph: bfloat16 becomes float32, which ONNX runtimes compute with on CPUs."""
    return np.dtype(np.float32) if dtype == ml_dtypes.bfloat16 else np.dtype(dtype)


def shrunk(array: np.ndarray) -> np.ndarray:
    """Drops copies along axes that a constant was broadcast to."""
    if not array.ndim or not array.size:
        return array
    return array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)]


def _same_elements(before: Sequence[Any], after: Sequence[Any], permutation: Sequence[int]) -> bool:
    """Whether a permutation moves axes of size 1 only."""
    moved = [place for place in permutation if not is_size(before[place], 1)]
    return moved == sorted(moved)


def _lie_together(kept: Sequence[Sequence[int]], stored: Sequence[int]) -> bool:
    """Whether the axes of each group are neighbors, in ascending order."""
    for axes in kept:
        if axes:
            start = stored.index(min(axes, key=stored.index))
            if list(stored[start : start + len(axes)]) != list(axes):
                return False
    return True


def _order_with(wanted: Sequence[int], shape: Sequence[Any]) -> Order:
    """Returns an order in which the axes that are not of size 1 are these; preferably that of a convolution."""
    for order in (channels_first(len(shape)), tuple(range(len(shape)))):
        if [axis for axis in order if not is_size(shape[axis], 1)] == list(wanted):
            return order
    order = list(wanted)
    for axis in range(len(shape)):
        if axis not in order:
            before = order.index(axis - 1) + 1 if axis - 1 in order else 0
            order.insert(before, axis)
    return tuple(order)
