"""Converts a jaxpr to an ONNX model."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from jds.exporting._blame import scope_of, unsupported
from jds.exporting._equations import read, simplify
from jds.exporting._formats import Calibration, Converted, counted, in_words
from jds.exporting._options import Options
from jds.exporting._patterns import find_patterns
from jds.exporting._prepare import Prepared
from jds.exporting.onnx import _convolution, _elementwise, _products, _reductions, _shapes  # noqa: F401, they register
from jds.exporting.onnx._quantize import left_in_float, quantized, with_float16_weights
from jds.exporting.onnx._tensors import Order, Tensor, channels_first
from jds.exporting.onnx._writer import UnsupportedError, Writer, graph_dtype

# ONNX Runtime reads it since version 1.12, OpenVINO since 2022.
_OPSET, _OLDEST = 17, 11


def convert(prepared: Prepared, options: Options, calibration: Calibration | None) -> Converted:
    """Converts a program to a file.

    Raises:
      NotImplementedError: an equation has no form in ONNX.
      ValueError: there is no such opset.
    """
    opset = _OPSET if options.opset is None else options.opset
    newest = onnx.defs.onnx_opset_version()
    if not _OLDEST <= opset <= newest:
        raise ValueError(
            f"export: `opset` must be from {_OLDEST} to {newest}, the newest one that `onnx` knows, got {opset!r}"
        )
    model = _model(prepared, opset, options.layout == "NCHW")
    in_float = None
    if calibration is not None:
        model = quantized(model, calibration, options.layout)
        in_float = left_in_float(model)
    elif options.float16:
        model = with_float16_weights(model)
    if prepared.description is not None:
        helper.set_model_props(model, prepared.description.entries())
    inputs, outputs = (
        {value.name: _described(value) for value in part} for part in (model.graph.input, model.graph.output)
    )
    return Converted(
        content=model.SerializeToString(),
        format=f"ONNX, opset {opset}",
        layers=counted(node.op_type for node in model.graph.node),
        inputs=inputs,
        outputs=outputs,
        packages=("onnx",) if calibration is None else ("onnx", "onnxruntime"),
        in_float=in_float,
    )


def _model(prepared: Prepared, opset: int, channels_are_first: bool) -> onnx.ModelProto:
    program = simplify(find_patterns(read(prepared.jaxpr, prepared.constants)))
    writer = Writer(program, opset)
    inputs = [
        _input(writer, var, name, channels_are_first) for var, name in zip(program.inputs, prepared.inputs, strict=True)
    ]
    for equation in program.equations:
        writer.scope = scope_of(equation.source)
        try:
            writer.write(equation)
        except UnsupportedError as fault:
            raise NotImplementedError(
                unsupported(equation.source, equation.name, equation.inputs, equation.outputs, "ONNX", str(fault))
            ) from None
    writer.scope = ""
    outputs = [
        _output(writer, value, name, channels_are_first)
        for value, name in zip(program.outputs, prepared.output_names, strict=True)
    ]
    model = writer.graph.model(inputs, outputs, prepared.name)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise NotImplementedError(
            f"export: {prepared.name} cannot be written to ONNX with opset {opset}: {reason}; use a newer opset"
        ) from error
    return model


def _input(writer: Writer, var: Any, name: str, channels_are_first: bool) -> Tensor:
    shape: Any = var.aval.shape
    order = _outer_order(len(shape), channels_are_first)
    tensor = Tensor(writer.graph.name(name), shape, shape, order, graph_dtype(var.aval.dtype))
    writer.define(var, tensor)
    return tensor


def _outer_order(rank: int, channels_are_first: bool) -> Order:
    """Returns the order of axes of the inputs and outputs of the file."""
    return channels_first(rank) if channels_are_first and rank == 4 else tuple(range(rank))


def _output(writer: Writer, value: Any, name: str, channels_are_first: bool) -> Tensor:
    operand = writer.full(writer.operand(value))
    order = _outer_order(len(operand.shape), channels_are_first)
    stored = writer.in_order(operand, order)
    output = writer.graph.output(stored if isinstance(stored, np.ndarray) else stored.name, name)
    return Tensor(output, operand.shape, operand.shape, order, operand.dtype)


def _described(value: onnx.ValueInfoProto) -> str:
    array = value.type.tensor_type
    sizes = [size.dim_param or size.dim_value for size in array.shape.dim]
    return in_words(helper.tensor_dtype_to_np_dtype(array.elem_type), sizes)
