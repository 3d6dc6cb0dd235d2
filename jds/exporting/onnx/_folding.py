"""Puts constant factors and summands into the weights of the layer before them."""

import numpy as np

from jds.exporting.onnx._graph import Node
from jds.exporting.onnx._tensors import Tensor
from jds.exporting.onnx._writer import Writer

# Where the features of a layer's result are stored, and which axis of its weights they are.
_FEATURES = {"Conv": (1, 0), "ConvTranspose": (1, 1), "Gemm": (1, 0), "MatMul": (-1, -1)}


def multiply_constant(writer: Writer, tensor: Tensor, factor: np.ndarray) -> Tensor | None:
    """Multiplies a layer's weights and bias; returns its result, or None if that is not possible."""
    node = writer.maker(tensor, *_FEATURES, "Add")
    if node is None:
        return None
    if node.op == "Add":
        return _multiply_after_bias(writer, tensor, node, factor)
    values = _per_feature(writer, tensor, node, factor)
    if values is None:
        return None
    _scale(node, values)
    if len(node.inputs) == 3:
        node.inputs[2] = _times(node.inputs[2], values)
    return tensor


def add_constant(writer: Writer, tensor: Tensor, summand: np.ndarray) -> Tensor | None:
    """Adds to a layer's bias; returns its result, or None if it has no bias."""
    node = writer.maker(tensor, "Conv", "ConvTranspose", "Gemm")
    values = None if node is None else _per_feature(writer, tensor, node, summand)
    if node is None or values is None:
        return None
    if len(node.inputs) == 3:
        values = (np.asarray(node.inputs[2], np.float64) + values).astype(values.dtype)
    node.inputs[2:] = [values]
    return tensor


def _multiply_after_bias(writer: Writer, tensor: Tensor, node: Node, factor: np.ndarray) -> Tensor | None:
    """The same for a matrix product with a bias, which are two nodes."""
    product, bias = node.inputs
    before = writer.graph.made_by.get(product) if isinstance(product, str) else None
    if before is None or before.op != "MatMul" or not isinstance(bias, np.ndarray):
        return None
    values = _per_feature(writer, tensor, before, factor)
    if values is None:
        return None
    _scale(before, values)
    node.inputs[1] = _times(bias, values)
    return tensor


def _per_feature(writer: Writer, tensor: Tensor, node: Node, constant: np.ndarray) -> np.ndarray | None:
    """Returns a constant as one number per feature of a layer, if it is that."""
    weights = node.inputs[1]
    place, axis = _FEATURES[node.op]
    if not isinstance(weights, np.ndarray) or (node.attributes.get("group", 1) > 1 and node.op == "ConvTranspose"):
        return None
    features, place = weights.shape[axis], place % len(tensor.order)
    stored = np.asarray(writer.in_order(constant, tensor.order))
    if stored.size != 1 and (stored.size != features or stored.shape[place] != features):
        return None
    if tensor.stored[place] != features:
        return None
    return np.broadcast_to(stored.reshape(-1), features).astype(weights.dtype)


def _scale(node: Node, values: np.ndarray) -> None:
    weights = np.asarray(node.inputs[1])
    shape = [1] * weights.ndim
    shape[_FEATURES[node.op][1]] = -1
    node.inputs[1] = _times(weights, values.reshape(shape))


def _times(one, other: np.ndarray) -> np.ndarray:
    return (np.asarray(one, np.float64) * other).astype(other.dtype)
