"""Converts a jaxpr to an ONNX model."""

import collections
from typing import Any

import numpy as np
import onnx
from onnx import helper

from jds._common.name_stack import read_scopes
from jds._common.place import place
from jds.exporting._prepare import Prepared
from jds.exporting.onnx import _convolution, _elementwise, _products, _reductions, _shapes  # noqa: F401, they register
from jds.exporting.onnx._equations import Equation, read, simplify
from jds.exporting.onnx._patterns import find_patterns
from jds.exporting.onnx._tensors import Order, Tensor, channels_first
from jds.exporting.onnx._writer import UnsupportedError, Writer, graph_dtype


def convert(prepared: Prepared, *, opset: int, channels_are_first: bool) -> onnx.ModelProto:
    """Converts a program to a model.

    Raises:
      NotImplementedError: an equation has no form in ONNX.
    """
    jaxpr = prepared.program.jaxpr
    program = simplify(find_patterns(read(jaxpr, prepared.constants)))
    writer = Writer(program, opset)
    inputs = [
        _input(writer, var, name, channels_are_first) for var, name in zip(program.inputs, prepared.inputs, strict=True)
    ]
    for equation in program.equations:
        writer.scope = "/".join(read_scopes(str(equation.source.source_info.name_stack)).path)
        try:
            writer.write(equation)
        except UnsupportedError as fault:
            raise NotImplementedError(_message(equation, writer.scope, fault)) from None
    writer.scope = ""
    names = prepared.outputs or _output_names(len(program.outputs))
    outputs = [
        _output(writer, value, name, channels_are_first) for value, name in zip(program.outputs, names, strict=True)
    ]
    model = writer.graph.model(inputs, outputs, prepared.name)
    onnx.checker.check_model(model, full_check=True)
    return model


def _output_names(number: int) -> list[str]:
    return ["output"] if number == 1 else [f"output_{place}" for place in range(number)]


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


def _message(equation: Equation, scope: str, fault: UnsupportedError) -> str:
    operands = ", ".join(_in_words(value) for value in equation.inputs)
    results = ", ".join(_in_words(var) for var in equation.outputs)
    where = place(equation.source, scope)
    return (
        f"export: {equation.name} ({operands} → {results}){' in ' if where else ''}{where} cannot be written to ONNX: "
        f"{fault}; replace it, or leave it out of the function and compute it outside the file"
    )


def _in_words(value: Any) -> str:
    return f"{value.dtype}{[*value.shape]}" if isinstance(value, np.ndarray) else str(value.aval)


def newest_opset() -> int:
    """Returns the newest version of ONNX's operators that the installed package knows."""
    return onnx.defs.onnx_opset_version()


def layers(model: onnx.ModelProto) -> dict[str, int]:
    """Returns the number of nodes of each kind, the most frequent first."""
    return dict(collections.Counter(node.op_type for node in model.graph.node).most_common())


def signature(model: onnx.ModelProto) -> tuple[dict[str, str], dict[str, str]]:
    """Returns shape and dtype of each input and output."""
    inputs, outputs = (
        {value.name: _described(value) for value in part} for part in (model.graph.input, model.graph.output)
    )
    return inputs, outputs


def _described(value: onnx.ValueInfoProto) -> str:
    array = value.type.tensor_type
    sizes = [size.dim_param or str(size.dim_value) for size in array.shape.dim]
    return f"{helper.tensor_dtype_to_np_dtype(array.elem_type)}[{','.join(sizes)}]"
