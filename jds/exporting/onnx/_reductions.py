"""Reductions, windows, and the functions that ONNX has as one node."""

import math
from typing import Any

import numpy as np

from jds.exporting._equations import Equation
from jds.exporting.onnx._elementwise import elementwise
from jds.exporting.onnx._tensors import Tensor, channels_first
from jds.exporting.onnx._writer import UnsupportedError, Writer, graph_dtype, handles

_REDUCTIONS = {
    "reduce_sum": "ReduceSum",
    "reduce_mean": "ReduceMean",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}


@handles(*_REDUCTIONS)
def _reduce(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    operand = writer.full(operand)
    axes, keeps = equation.params["axes"], bool(equation.params.get("keepdims"))
    positions = sorted(operand.position(axis) for axis in axes)
    order = operand.order if keeps else _without(operand.order, axes)
    out = equation.outputs[0].aval
    rank = len(operand.shape)
    is_global = keeps and rank > 2 and positions == [*range(2, rank)]
    if is_global and equation.name in ("reduce_mean", "reduce_max"):
        node = writer.add({"reduce_mean": "GlobalAveragePool", "reduce_max": "GlobalMaxPool"}[equation.name], operand)
    else:
        node = _reduction(writer, _REDUCTIONS[equation.name], operand, positions, keepdims=int(keeps))
    return writer.tensor(node, out.shape, order, out.dtype)


def _reduction(writer: Writer, op: str, operand: Any, positions: list[int], *, keepdims: int = 1) -> Any:
    if writer.opset >= (13 if op == "ReduceSum" else 18):
        return writer.add(op, operand, np.asarray(positions, np.int64), keepdims=keepdims)
    return writer.add(op, operand, axes=positions, keepdims=keepdims)


def _without(order: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis - sum(one < axis for one in axes) for axis in order if axis not in axes)


@handles("softmax", "log_softmax")
def _softmax(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    operand, axis = writer.full(operand), equation.params["axis"]
    op = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[equation.name]
    if writer.opset < 13:
        # There, all axes from this one on are one.
        operand = writer.in_order(operand, (*(a for a in operand.order if a != axis), axis))
    return elementwise(writer, equation, op, operand, axis=operand.position(axis))


@handles("layer_norm")
def _layer_norm(writer: Writer, equation: Equation, operand: Any, *values: Any) -> Tensor:
    rank = len(equation.outputs[0].aval.shape)
    last = tuple(range(rank))
    operand = writer.in_order(writer.full(operand), last)
    rest, features = list(values), operand.shape[-1]
    scale = rest.pop(0) if equation.params["has_scale"] else np.ones(features, operand.dtype)
    bias = rest.pop(0) if equation.params["has_bias"] else None
    epsilon = float(equation.params["epsilon"])
    if writer.opset >= 17:
        inputs = [operand, scale, *([] if bias is None else [bias])]
        node = writer.add("LayerNormalization", *inputs, axis=-1, epsilon=epsilon)
        return writer.tensor(node, operand.shape, last, operand.dtype)

    def write(op: str, *operands: Any) -> Tensor:
        node = writer.add(op, *operands)
        return writer.tensor(node, operand.shape, last, operand.dtype)

    def mean(tensor: Tensor) -> str:
        return _reduction(writer, "ReduceMean", tensor, [rank - 1]).outputs[0]

    def number(value: float) -> np.ndarray:
        return np.asarray(value, operand.dtype)

    # In the form that runtimes look for, to run it as one kernel.
    centered = write("Sub", operand, mean(operand))
    variance = mean(write("Pow", centered, number(2.0)))
    out = write("Div", centered, write("Sqrt", write("Add", variance, number(epsilon))))
    out = write("Mul", out, scale)
    return out if bias is None else write("Add", out, bias)


@handles("reduce_window_max", "reduce_window_sum")
def _window(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    params, out = equation.params, equation.outputs[0].aval
    if any(dilation != 1 for dilation in params["base_dilation"]):
        raise UnsupportedError("a window over dilated inputs has no ONNX form")
    window, rank = params["window_dimensions"], len(out.shape)
    sizes = zip(window, params["window_strides"], params["padding"], strict=True)
    alone = [axis for axis, size in enumerate(sizes) if size == (1, 1, (0, 0))]
    operand = writer.full(operand)
    if not {operand.order[0], operand.order[1]} <= set(alone):
        if len(alone) < 2:
            raise UnsupportedError("a window over more than the spatial axes has no ONNX form")
        wanted = (*alone[:2], *(axis for axis in range(rank) if axis not in alone[:2]))
        first = channels_first(rank)
        operand = writer.in_order(operand, first if {first[0], first[1]} <= set(alone) else wanted)
    spatial = operand.order[2:]
    dilations = [params["window_dilation"][axis] for axis in spatial]
    attributes: dict[str, Any] = {
        "kernel_shape": [window[axis] for axis in spatial],
        "strides": [params["window_strides"][axis] for axis in spatial],
        "pads": [params["padding"][axis][side] for side in (0, 1) for axis in spatial],
        "dilations": dilations if set(dilations) != {1} else None,
    }
    if equation.name == "reduce_window_max":
        return writer.tensor(writer.add("MaxPool", operand, **attributes), out.shape, operand.order, out.dtype)
    if attributes["dilations"] and writer.opset < 19:
        raise UnsupportedError(f"a dilated window needs opset 19, not {writer.opset}")
    mean = writer.add("AveragePool", operand, count_include_pad=1, **attributes)
    tensor = writer.tensor(mean, out.shape, operand.order, out.dtype)
    return elementwise(writer, equation, "Mul", tensor, np.asarray(math.prod(window), graph_dtype(out.dtype)))
