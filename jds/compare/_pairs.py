"""Finds which pointwise convolutions read the channels of which depthwise convolutions."""

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jds.compare._products import Product
from jds.cost._program import Operation


class Piece(NamedTuple):
    """A range of a depthwise convolution's output channels that a pointwise convolution reads.

    Attributes:
      reader: the pointwise convolution.
      first: index of the first channel in the depthwise convolution's result.
      place: index of the same channel in the pointwise convolution's input.
      size: number of channels.
    """

    reader: int
    first: int
    place: int
    size: int


def find_pairs(operations: Sequence[Operation], products: Mapping[int, Product]) -> dict[int, list[Piece]]:
    """Returns the pieces of each depthwise convolution whose channels each have a single pointwise reader."""
    users = collections.defaultdict(list)
    for number, operation in enumerate(operations):
        for value in operation.inputs:
            users[value].append(number)
    found = {
        number: list(dict.fromkeys(_readers(number, operations, products, users)))
        for number, product in products.items()
        if product.is_depthwise
    }
    while True:
        # All channels of both halves must be paired exactly once; the rest of a pointwise convolution would be left
        # over.
        wrong = {
            number
            for number, pieces in found.items()
            if not _covers(((piece.first, piece.size) for piece in pieces), products[number].out_features)
            or any(piece.size % (products[number].out_features // products[number].in_features) for piece in pieces)
        }
        read = collections.defaultdict(list)
        for number, pieces in found.items():
            for piece in pieces:
                read[piece.reader].append((number, (piece.place, piece.size)))
        for reader, parts in read.items():
            if not _covers((span for _, span in parts), products[reader].in_features):
                wrong |= {number for number, _ in parts}
        if not wrong:
            return found
        found = {number: pieces for number, pieces in found.items() if number not in wrong}


def _covers(spans: Iterable[tuple[int, int]], count: int) -> bool:
    """Whether the spans (first, size) cover each of `count` channels exactly once."""
    end = 0
    for first, size in sorted(spans):
        if first != end:
            return False
        end += size
    return end == count


class _Channels(NamedTuple):
    """A range of a depthwise convolution's output channels within a later value.

    Attributes:
      value: index of the value.
      first: index of the first channel in the depthwise convolution's result.
      place: index of the first channel in the value.
      size: number of channels.
    """

    value: int
    first: int
    place: int
    size: int

    def cut(self, value: int, start: int, end: int) -> Iterator["_Channels"]:
        """Yields the channels between `start` and `end`, as a range of a value that begins at `start`."""
        low, high = max(start, self.place), min(end, self.place + self.size)
        if low < high:
            yield _Channels(value, self.first + low - self.place, low - start, high - low)


def _readers(
    start: int, operations: Sequence[Operation], products: Mapping[int, Product], users: Mapping[int, Sequence[int]]
) -> Iterator[Piece]:
    """Follows a depthwise convolution's output channels to the pointwise convolutions that read them."""
    waiting = [_Channels(operations[start].outputs[0], 0, 0, products[start].out_features)]
    seen = set(waiting)
    while waiting:
        channels = waiting.pop()
        for number in users.get(channels.value, ()):
            reader = products.get(number)
            if reader is None:
                new = set(_through(operations[number], channels)) - seen
                seen |= new
                waiting += new
            elif reader.is_pointwise and operations[number].inputs[0] == channels.value:
                yield Piece(number, channels.first, channels.place, channels.size)


def _through(operation: Operation, channels: _Channels) -> Iterator[_Channels]:
    """Yields the positions that an operation moves channels to, if it maps each channel to a single position."""
    equation, outputs = operation.equation, operation.outputs
    if len(operation.inputs) != len(equation.inputs) and equation.primitive == "concatenate":
        return  # an operand occurs twice
    results = [aval.shape for aval in equation.outputs]
    last = len(results[0]) - 1
    if equation.primitive == "concatenate" and equation.params["dimension"] == last:
        before = equation.inputs[: operation.inputs.index(channels.value)]
        yield channels._replace(value=outputs[0], place=channels.place + sum(aval.shape[last] for aval in before))
    elif equation.primitive == "split" and equation.params["axis"] == last:
        ends = list(itertools.accumulate(map(int, equation.params["sizes"])))
        for value, low, high in zip(outputs, [0, *ends], ends, strict=False):
            yield from channels.cut(value, low, high)
    elif equation.primitive == "slice" and results[0][:last] == equation.inputs[0].shape[:last]:
        start, end = equation.params["start_indices"][last], equation.params["limit_indices"][last]
        if end - start == results[0][last]:
            yield from channels.cut(outputs[0], int(start), int(end))
    elif operation.cost and operation.cost.kind == "element-wise":
        yield channels._replace(value=outputs[0])
