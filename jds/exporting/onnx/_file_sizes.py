"""Computes the sizes that an ONNX file computes when it runs, from the shapes that are known."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from jds.exporting._counting import Array

# Arrays with more elements are no sizes.
_MOST = 64
_STANDARD = ("", "ai.onnx")


def with_sizes(model: ModelProto, arrays: Mapping[str, Array]) -> bool:
    """Makes nodes that compute sizes constants.

    Args:
      model: the model, which is changed.
      arrays: the shapes that are known.

    Returns:
      Whether there were such nodes.
    """
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if _is_small(tensor)}
    found = False
    for node in model.graph.node:
        if node.op_type == "Constant":
            values |= [(node.output[0], numpy_helper.to_array(t)) for t in _tensors(node) if _is_small(t)]
            continue
        value = _value(node, values, arrays, model.opset_import)
        if value is not None:
            values[node.output[0]] = value
            tensor = numpy_helper.from_array(value, node.output[0])
            node.CopyFrom(helper.make_node("Constant", [], node.output[:1], value=tensor))
            found = True
    return found


def _is_small(tensor: Any) -> bool:
    elements = int(np.prod(tensor.dims))
    # The content of large constants, and of those in other files, is not there.
    has_content = any((tensor.raw_data, tensor.int64_data, tensor.int32_data, tensor.float_data)) or not elements
    return elements <= _MOST and has_content


def _tensors(node: NodeProto) -> list[Any]:
    return [attribute.t for attribute in node.attribute if attribute.name == "value"]


def _value(node: NodeProto, values: Mapping[str, Any], arrays: Mapping[str, Array], opsets: Any) -> np.ndarray | None:
    """Returns the only result of a node, if it can be computed now."""
    if node.domain not in _STANDARD or len(node.output) != 1 or not node.input:
        return None
    if node.op_type == "Shape" and node.input[0] in arrays:
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        return np.asarray(arrays[node.input[0]].shape[ends.get("start", 0) : ends.get("end")], np.int64)
    if node.op_type == "Size" and node.input[0] in arrays:
        return np.asarray(arrays[node.input[0]].size, np.int64)
    names = [name for name in node.input if name]
    if any(name not in values for name in names):
        return None
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values[name].dtype), None) for name in names
    ]
    result = helper.make_empty_tensor_value_info(node.output[0])
    graph: GraphProto = helper.make_graph([node], "sizes", inputs, [result])
    try:
        (value,) = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(
            None, {name: values[name] for name in names}
        )
    except Exception:  # an operator that the evaluator does not have, or a wrong file
        return None
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) and np.size(value) <= _MOST else None
