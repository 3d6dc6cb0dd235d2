"""What flows in an ONNX file whose arrays are rounded by pairs of QuantizeLinear and DequantizeLinear.

A node between such pairs is computed in integers: it reads what was rounded before it, and writes what is rounded after
it. The pairs are then no operations of their own.
"""

import collections
from collections.abc import Collection, Sequence
from typing import NamedTuple

from onnx import NodeProto

from jds.exporting._counting import Array
from jds.exporting.onnx._file_constants import Constants

# Products are computed in integers even if their results are not rounded; the place of their weights.
_PRODUCTS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
# What follows a product and is computed together with it, so that its result is the first that is rounded.
_LIMITS = {"Relu", "Clip", "LeakyRelu"}


class Step(NamedTuple):
    """A node, and the names of what it reads and writes."""

    node: NodeProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def in_integers(
    steps: Sequence[Step], constants: Constants, arrays: dict[str, Array], results: Collection[str]
) -> list[Step]:
    """Returns the steps, of which those between roundings read and write what is rounded.

    Args:
      steps: the nodes of the graph, in order.
      constants: the tensors that the file holds.
      arrays: shapes and dtypes, to which those of inner results are added.
      results: names of the outputs of the graph.
    """
    graph = _Graph(steps, constants, arrays, results)
    changed = [graph.rounded(step) if graph.is_in_integers(step) else step for step in steps]
    written = {name for step, old in zip(changed, steps, strict=True) if step is not old for name in step.outputs}
    kept = [
        step
        for step, old in zip(changed, steps, strict=True)
        if step is not old or step.node.op_type != "QuantizeLinear" or step.outputs[0] not in written
    ]
    read = {name for step in kept for name in step.inputs} | {*results}
    return [step for step in kept if step.node.op_type != "DequantizeLinear" or step.outputs[0] in read]


class _Graph:
    """The nodes of a graph, and what reads their results."""

    def __init__(self, steps, constants, arrays, results):
        self.constants, self.arrays, self.results = constants, arrays, results
        self.made_by: dict[str, Step] = {name: step for step in steps for name in step.outputs}
        self.readers: dict[str, list[Step]] = collections.defaultdict(list)
        # Results that are rounded after a limit.
        self.inner: set[str] = set()
        for step in steps:
            for name in step.inputs:
                self.readers[name].append(step)

    def is_in_integers(self, step: Step) -> bool:
        """Whether a node is computed in integers."""
        kind, inputs = step.node.op_type, step.inputs
        if kind in ("QuantizeLinear", "DequantizeLinear"):
            return False
        if kind in _PRODUCTS:
            return all(self._rounded(name) is not None for name in (inputs[0], inputs[_PRODUCTS[kind]]))
        arrays = [name for name in inputs if name and not self._is_number(name)]
        if all(name in self.constants for name in arrays) or any(self._rounded(name) is None for name in arrays):
            return False
        return all(self._rounding_of(name) is not None for name in step.outputs if name)

    def rounded(self, step: Step) -> Step:
        """Returns a node that is computed in integers, with what it reads and writes."""
        inputs = tuple(self._rounded(name) or name for name in step.inputs)
        outputs = []
        for name in step.outputs:
            after = self._rounding_of(name)
            if after is None and (last := self._rounding_after_limit(name)) is not None:
                self.arrays[name] = Array(self.arrays[name].shape, self.arrays[last].dtype)
                self.inner.add(name)
            outputs.append(after or name)
        return Step(step.node, inputs, tuple(outputs))

    def _rounded(self, name: str) -> str | None:
        """Returns the integers that a tensor is read from, or None."""
        if name in self.constants:
            return self.constants[name].stored if self.constants[name].is_rounded else None
        if name in self.inner:
            return name
        maker = self.made_by.get(name)
        return maker.inputs[0] if maker is not None and maker.node.op_type == "DequantizeLinear" else None

    def _is_number(self, name: str) -> bool:
        """Whether it is a constant that need not be rounded: a shape, an index or a limit."""
        if name not in self.constants or name not in self.arrays:
            return False
        return not self.constants[name].is_rounded and (self.arrays[name].is_integer or self.arrays[name].shape == ())

    def _only_reader(self, name: str, *kinds: str) -> Step | None:
        readers = self.readers[name]
        is_alone = len(readers) == 1 and name not in self.results
        return readers[0] if is_alone and readers[0].node.op_type in kinds else None

    def _rounding_of(self, name: str) -> str | None:
        """Returns what a result is rounded to, if only that reads it."""
        reader = self._only_reader(name, "QuantizeLinear")
        return None if reader is None else reader.outputs[0]

    def _rounding_after_limit(self, name: str) -> str | None:
        """Returns what a result is rounded to after a limit that alone reads it."""
        reader = self._only_reader(name, *_LIMITS)
        return None if reader is None else self._rounding_of(reader.outputs[0])
