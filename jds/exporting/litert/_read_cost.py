"""Reads the operations of a LiteRT file, and counts them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jds._common.name_stack import origin
from jds.cost._graph import Graph, Node, Tensor
from jds.exporting._counting import Array, Padded, costs_of
from jds.exporting._unreadable import UnreadableError
from jds.exporting.litert._file_rules import Operator, cost_of
from jds.exporting.litert._model import dtype_of, kind_of, read

# Done once when a file is loaded, if their input is a constant.
_CASTS = {"DEQUANTIZE", "DENSIFY"}
_PADS = {"PAD", "PADV2"}
_IDENTIFIER = b"TFL3"
# What a product is called in names by JAX and by TensorFlow.
_PRODUCT = re.compile(r"(conv_general_dilated|dot_general|Conv2D|Conv3D|depthwise|convolution|MatMul)_?\d*(_dequant)?")
_BIAS = re.compile(r"add|BiasAdd\d*")
_NOT_NUMBERS = {"string", "resource", "variant"}


def read_graph(path: Path, *, batch: int = 1, count_padding: bool = True) -> Graph:
    """Reads a file.

    Args:
      path: the file.
      batch: the size of a batch, if the file leaves it open.
      count_padding: whether multiply-accumulates with padding are counted.

    Returns:
      The operations of its main graph: weights that are cast when it is loaded are no operations but constants. Graphs
      that it calls are not followed.

    Raises:
      UnreadableError: it is no LiteRT file, or a shape is unknown.
    """
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise UnreadableError(
            f"read_cost: {str(path)!r} is no LiteRT file: it does not begin with {_IDENTIFIER.decode()!r}"
        )
    return _File(read(content), batch, count_padding).read(path.name)


class _File:
    """A file, with what is known of its tensors."""

    def __init__(self, model: Any, batch: int, count_padding: bool):
        self.model, self.graph, self.batch, self.count_padding = model, model.subgraphs[0], batch, count_padding
        self.tensors = list(self.graph.tensors)
        self.names = _unique([(tensor.name or b"").decode(errors="replace") for tensor in self.tensors])
        self.arrays = [Array(self._shape(place), _dtype(tensor)) for place, tensor in enumerate(self.tensors)]
        # For weights that are cast when the file is loaded, what is stored of them.
        self.stored: dict[int, int] = {}
        self.padded: dict[int, Padded] = {}

    def read(self, name: str) -> Graph:
        nodes = tuple(self._nodes())
        inputs, outputs = (tuple(self.names[i] for i in part) for part in (self.graph.inputs, self.graph.outputs))
        places = {name: place for place, name in enumerate(self.names)}
        used = dict.fromkeys((*inputs, *(name for node in nodes for name in (*node.inputs, *node.outputs)), *outputs))
        tensors = {name: self._tensor(places[name]) for name in used}
        title = (self.graph.name or b"").decode(errors="replace")
        return Graph(title if title not in ("", "main") else name, tensors, nodes, inputs, outputs)

    def _nodes(self) -> Iterator[Node]:
        for operator in self.graph.operators:
            kind = kind_of(self.model, operator)
            inputs, outputs = _places(operator.inputs), _places(operator.outputs)
            if kind in _CASTS and self._is_constant(inputs[0]):
                self.stored[outputs[0]] = inputs[0]
                continue
            read = [self.stored.get(place, place) for place in inputs]
            if kind in _PADS:
                self._note_padding(read, outputs[0])
            costs = costs_of(cost_of, self._operator(kind, operator, read, outputs))
            names = [[self.names[place] for place in places if place >= 0] for places in (read, outputs)]
            yield Node(self._layer(read, outputs), kind, tuple(dict.fromkeys(names[0])), tuple(names[1]), *costs)

    def _operator(self, kind: str, operator: Any, inputs: Sequence[int], outputs: Sequence[int]) -> Operator:
        return Operator(
            kind=kind,
            inputs=[None if place < 0 else self.arrays[place] for place in inputs],
            outputs=[self.arrays[place] for place in outputs],
            constants=[place >= 0 and self._is_constant(place) for place in inputs],
            options=operator.builtinOptions or operator.builtinOptions2,
            padded=self.padded.get(inputs[0]) if inputs else None,
            count_padding=self.count_padding,
        )

    def _note_padding(self, inputs: Sequence[int], output: int) -> None:
        """Notes what an array was before zeros were added, which a convolution of it does not multiply."""
        values = self._data(inputs[1])
        if values is None or len(inputs) > 2:
            return
        widths = np.frombuffer(values.tobytes(), self.arrays[inputs[1]].dtype).reshape(-1, 2)
        self.padded[output] = Padded(self.arrays[inputs[0]].shape, tuple(int(low) for low, _ in widths))

    def _data(self, place: int) -> np.ndarray | None:
        data = self.model.buffers[self.tensors[place].buffer].data
        return None if data is None or not len(data) else np.asarray(data, np.uint8)

    def _stored_bytes(self, place: int) -> int:
        buffer = self.model.buffers[self.tensors[place].buffer]
        # Large constants may lie behind the flatbuffer.
        return buffer.size or (0 if buffer.data is None else len(buffer.data))

    def _is_constant(self, place: int) -> bool:
        return place >= 0 and (self._stored_bytes(place) > 0 or self.tensors[place].externalBuffer > 0)

    def _tensor(self, place: int) -> Tensor:
        array, stored = self.arrays[place], self._stored_bytes(place)
        rounding = self.tensors[place].quantization
        is_rounded = rounding is not None and rounding.scale is not None and len(rounding.scale) > 0
        is_number = array.size == 1 and len(array.shape) != 1
        is_parameter = self._is_constant(place) and not is_number and (is_rounded or not array.is_integer)
        return Tensor(array.shape, array.dtype.name, stored or array.bytes, is_parameter)

    def _shape(self, place: int) -> tuple[int, ...]:
        """Returns the sizes of a tensor, with an open first one replaced by that of the batch."""
        tensor = self.tensors[place]
        shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
        signature = shape if tensor.shapeSignature is None else [int(size) for size in tensor.shapeSignature]
        if len(signature) == len(shape) and -1 in signature:
            if -1 in signature[1:]:
                raise UnreadableError(
                    f"read_cost: the tensor {self.names[place]!r} of this LiteRT file has open sizes, {signature}; "
                    "only the first size is replaced, by `batch`: write a file with all sizes"
                )
            shape[0] = self.batch
        return tuple(shape)

    def _layer(self, inputs: Sequence[int], outputs: Sequence[int]) -> str:
        """Returns the path of the module that an operator belongs to.

        The name of a tensor joins those of the equations that its operator stands for, and of equations elsewhere whose
        constants are the same. That of a product says most; results of the whole graph are named otherwise, but not
        their weights.
        """
        constants = [place for place in inputs if self._is_constant(place)]
        parts = [part for place in (*outputs[:1], *constants) for part in self.names[place].split(";") if "/" in part]
        parts.sort(key=lambda part: _order(part.rpartition("/")[2]))
        return next(filter(None, (origin(part).layer for part in parts)), "")


def _order(operation: str) -> int:
    """Returns how much an equation says about the layer of an operator: a product most, then its bias."""
    return 0 if _PRODUCT.fullmatch(operation) else 1 if _BIAS.fullmatch(operation) else 2


def _places(places: Any) -> list[int]:
    return [] if places is None else [int(place) for place in places]


def _dtype(tensor: Any) -> np.dtype:
    name = dtype_of(tensor)
    if name in _NOT_NUMBERS:
        return np.dtype(object)
    return np.dtype(getattr(ml_dtypes, name, name))


def _unique(names: Sequence[str]) -> list[str]:
    """Returns names of which none occurs twice, because a file may call tensors as it likes."""
    return [name if name and names.count(name) == 1 else f"{name}#{place}" for place, name in enumerate(names)]
