"""Makes convolutions of the parts of an array one grouped convolution."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jds.exporting.onnx._graph import Node
from jds.exporting.onnx._tensors import Order
from jds.exporting.onnx._writer import Writer


def grouped(writer: Writer, parts: Sequence[Any], order: Order, axis: int) -> Node | None:
    """Computes the concatenation of convolutions that differ only in their weights, each of its part of an array.

    Without copies of the parts and of the results, the engines take less time.

    Args:
      writer: the graph so far.
      parts: the results of the convolutions.
      order: how their concatenation is stored.
      axis: the axis of the concatenation, in the order of the program.

    Returns:
      The grouped convolution, or None if these are not such convolutions.
    """
    makers = [writer.maker(part, "Conv") for part in parts]
    convolutions = [node for node in makers if node is not None]
    if len(convolutions) < len(parts) or order.index(axis) != 1 or any(part.order != order for part in parts):
        return None
    first, split = convolutions[0], writer.graph.made_by.get(str(convolutions[0].inputs[0]))
    if split is None or split.op != "Split" or split.attributes["axis"] != 1:
        return None
    if [node.inputs[0] for node in convolutions] != split.outputs:
        return None
    shapes = [[value.shape for value in node.inputs[1:] if isinstance(value, np.ndarray)] for node in convolutions]
    if len(shapes[0]) < len(first.inputs) - 1 or any(shape != shapes[0] for shape in shapes):
        return None
    if any(node.attributes != first.attributes for node in convolutions):
        return None
    weights = [np.concatenate(values) for values in zip(*(node.inputs[1:] for node in convolutions), strict=True)]
    attributes = first.attributes | {"group": len(parts) * first.attributes["group"]}
    return writer.add("Conv", split.inputs[0], *weights, **attributes)
