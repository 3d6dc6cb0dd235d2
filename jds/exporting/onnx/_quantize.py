"""Smaller weights: int8 with activations in int8, by ONNX Runtime's quantizer, or float16."""

import logging
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, numpy_helper

from jds.exporting._description import Layout, as_stored
from jds.exporting._float16 import halved, is_large
from jds.exporting._formats import Calibration, counted, require
from jds.exporting._photographs import batches

# Nodes that the quantizer removes, because the range of their rounded output says the same.
_REMOVABLE = {"Clip", "Relu"}
# Nodes whose second input is their weights.
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_AROUND = {"QuantizeLinear", "DequantizeLinear"}


def quantized(model: onnx.ModelProto, calibration: Calibration, layout: Layout | None) -> onnx.ModelProto:
    """Returns the model in int8: weights per channel, activations from the least to the greatest on the photographs.

    Inputs and outputs stay in float. The scheme is that of https://arxiv.org/abs/1806.08342.
    """
    quantization: Any = require("onnxruntime.quantization", "onnx", "ONNX in int8")
    (images,) = model.graph.input
    size = images.type.tensor_type.shape.dim[0].dim_value or 1
    parts = iter([{images.name: as_stored(part, layout)} for part in batches(calibration.images, size)])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            return next(parts, None)

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it asks for a step that the writer has already done
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantization.quantize_static(
                model,
                path,
                Reader(),
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                activation_type=quantization.QuantType.QUInt8,
                nodes_to_exclude=_excluded(model, {layer.name for layer in calibration.in_float}),
            )
            return onnx.load(path)
    finally:
        logging.getLogger().setLevel(level)


def _excluded(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """Returns the nodes of these layers, and what limits their inputs: without its rounding, nothing else would."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    excluded = []
    for node in model.graph.node:
        scope, _, _ = node.name.rpartition("/")
        # The scope of a grouped convolution is that of the layers which are its groups.
        if scope in layers or (node.op_type == "Conv" and any(layer.startswith(f"{scope}/") for layer in layers)):
            before = made_by.get(node.input[0])
            excluded += [node.name, *([before.name] if before is not None and before.op_type in _REMOVABLE else [])]
    return excluded


def left_in_float(model: onnx.ModelProto) -> dict[str, int]:
    """Returns the number of nodes that compute in float, by kind."""
    rounded = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    kinds = (
        node.op_type
        for node in model.graph.node
        if node.op_type not in _AROUND and not rounded.issuperset(node.input[: 2 if node.op_type in _WEIGHTED else 1])
    )
    return counted(kinds)


def with_float16_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with its larger constants in float16, which a node casts back to float32."""
    tensors, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if not is_large(values):
            tensors.append(tensor)
            continue
        name = f"{tensor.name}/float16"
        tensors.append(numpy_helper.from_array(halved(values), name))
        casts.append(
            helper.make_node("Cast", [name], [tensor.name], name=f"{tensor.name}/Cast", to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(tensors)
    model.graph.node.extend(nodes)
    return model
