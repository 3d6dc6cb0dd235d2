"""Equations that compute each element by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper

from jds.exporting._equations import Equation
from jds.exporting._sizes import is_size
from jds.exporting.onnx._folding import add_constant, multiply_constant
from jds.exporting.onnx._tensors import Order, Tensor, channels_first, count
from jds.exporting.onnx._writer import Operand, UnsupportedError, Writer, graph_dtype, handles, shrunk

_UNARY = {
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "hard_sigmoid": "HardSigmoid",
    "log": "Log",
    "logistic": "Sigmoid",
    "neg": "Neg",
    "not": "Not",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "softplus": "Softplus",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
}
_ATTRIBUTES = {"hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5}}
_BINARY = {
    "add": "Add",
    "and": "And",
    "div": "Div",
    "eq": "Equal",
    "gt": "Greater",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "or": "Or",
    "pow": "Pow",
    "sub": "Sub",
    "xor": "Xor",
}


def common_order(operands: Sequence[Operand]) -> Order:
    """Returns the order in which operands of one rank are to be stored: that of the largest."""
    tensors = [operand for operand in operands if isinstance(operand, Tensor) and operand.order]
    if not tensors:
        return ()
    first = channels_first(len(tensors[0].order))
    return max(tensors, key=lambda tensor: (count(tensor.sizes), tensor.order == first)).order


def elementwise(writer: Writer, equation: Equation, op: str, *operands: Operand, **attributes: Any) -> Tensor:
    """Adds a node whose operands are broadcast."""
    order = common_order(operands)
    node = writer.add(op, *(writer.in_order(operand, order) for operand in operands), **attributes)
    out = equation.outputs[0].aval
    sizes = tuple(_widest(axis, operands) for axis in range(len(out.shape)))
    return Tensor(node.outputs[0], sizes, out.shape, order, graph_dtype(out.dtype))


def _widest(axis: int, operands: Sequence[Operand]) -> Any:
    """The size of an axis after broadcasting."""
    for operand in operands:
        sizes = operand.sizes if isinstance(operand, Tensor) else shrunk(operand).shape
        if sizes and not is_size(sizes[axis], 1):
            return sizes[axis]
    return 1


@handles(*_UNARY)
def _unary(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    return elementwise(writer, equation, _UNARY[equation.name], operand, **_ATTRIBUTES.get(equation.name, {}))


@handles(*_BINARY)
def _binary(writer: Writer, equation: Equation, one: Operand, other: Operand) -> Tensor:
    folded = _folded(writer, equation, one, other) or _as_activation(writer, equation, one, other)
    if folded is not None:
        return folded
    if equation.name in ("and", "or", "xor") and equation.outputs[0].aval.dtype != bool:
        raise UnsupportedError("bitwise operations on integers have no ONNX form")
    return elementwise(writer, equation, _BINARY[equation.name], one, other)


def _folded(writer: Writer, equation: Equation, one: Operand, other: Operand) -> Tensor | None:
    """Puts a multiplication or addition of constants into the weights of the layer before it."""
    if isinstance(one, np.ndarray) and equation.name in ("add", "mul"):
        one, other = other, one
    if not isinstance(one, Tensor) or not isinstance(other, np.ndarray) or one.dtype.kind != "f":
        return None
    match equation.name:
        case "add":
            return add_constant(writer, one, other)
        case "sub":
            return add_constant(writer, one, np.asarray(-other))
        case "mul":
            return multiply_constant(writer, one, other)
        case "div":
            return multiply_constant(writer, one, np.asarray(1 / other)) if np.all(other) else None
    return None


def _as_activation(writer: Writer, equation: Equation, one: Operand, other: Operand) -> Tensor | None:
    """Writes comparisons with a number as Relu and Clip."""
    if isinstance(one, np.ndarray):
        one, other = other, one
    if not isinstance(one, Tensor) or not isinstance(other, np.ndarray) or other.size != 1 or one.dtype.kind != "f":
        return None
    limit = other.reshape(())
    if equation.name == "max" and limit == 0:
        return elementwise(writer, equation, "Relu", one)
    before = writer.maker(one, "Relu", "Clip")
    if equation.name == "max":
        return elementwise(writer, equation, "Clip", one, limit)
    if equation.name != "min" or before is None or len(before.inputs) == 3:
        return None
    lowest = before.inputs[1] if before.op == "Clip" else np.zeros_like(limit)
    if isinstance(lowest, np.ndarray) and lowest > limit:
        return None
    before.op, before.inputs = "Clip", [before.inputs[0], lowest, limit]
    return one


@handles("clamp")
def _clamp(writer: Writer, equation: Equation, low: Any, operand: Any, high: Any) -> Tensor:
    if all(isinstance(limit, np.ndarray) and limit.size == 1 for limit in (low, high)):
        return elementwise(writer, equation, "Clip", operand, low.reshape(()), high.reshape(()))
    return elementwise(writer, equation, "Min", elementwise(writer, equation, "Max", operand, low), high)


@handles("ge", "le")
def _or_equal(writer: Writer, equation: Equation, one: Operand, other: Operand) -> Tensor:
    strictly = {"ge": "Greater", "le": "Less"}[equation.name]
    if writer.opset >= 12:
        return elementwise(writer, equation, f"{strictly}OrEqual", one, other)
    parts = (elementwise(writer, equation, op, one, other) for op in (strictly, "Equal"))
    return elementwise(writer, equation, "Or", *parts)


@handles("ne")
def _not_equal(writer: Writer, equation: Equation, one: Operand, other: Operand) -> Tensor:
    return elementwise(writer, equation, "Not", elementwise(writer, equation, "Equal", one, other))


@handles("rem")
def _remainder(writer: Writer, equation: Equation, one: Operand, other: Operand) -> Tensor:
    return elementwise(writer, equation, "Mod", one, other, fmod=1)


@handles("rsqrt")
def _rsqrt(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    return elementwise(writer, equation, "Reciprocal", elementwise(writer, equation, "Sqrt", operand))


@handles("square")
def _square(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    return elementwise(writer, equation, "Mul", operand, operand)


@handles("integer_pow")
def _integer_pow(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    exponent, dtype = equation.params["y"], graph_dtype(equation.outputs[0].aval.dtype)
    if exponent == 2:
        return _square(writer, equation, operand)
    if exponent == -1:
        return elementwise(writer, equation, "Reciprocal", operand)
    return elementwise(writer, equation, "Pow", operand, np.asarray(exponent, dtype))


@handles("exp2", "expm1", "log1p", "erfc")
def _shifted(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    dtype = graph_dtype(equation.outputs[0].aval.dtype)
    one = np.ones((), dtype)
    match equation.name:
        case "exp2":
            return elementwise(writer, equation, "Pow", np.asarray(2, dtype), operand)
        case "expm1":
            return elementwise(writer, equation, "Sub", elementwise(writer, equation, "Exp", operand), one)
        case "log1p":
            return elementwise(writer, equation, "Log", elementwise(writer, equation, "Add", operand, one))
    return elementwise(writer, equation, "Sub", one, elementwise(writer, equation, "Erf", operand))


@handles("round")
def _round(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    if equation.params["rounding_method"] != 1:
        raise UnsupportedError("only rounding to the nearest even number has an ONNX form")
    return elementwise(writer, equation, "Round", operand)


@handles("is_finite")
def _is_finite(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    # Not a number minus itself is not zero, and neither is infinity.
    zero = np.zeros((), graph_dtype(operand.dtype))
    return elementwise(writer, equation, "Equal", elementwise(writer, equation, "Sub", operand, operand), zero)


@handles("select_n")
def _select(writer: Writer, equation: Equation, which: Operand, *cases: Operand) -> Tensor:
    if which.dtype != bool or len(cases) != 2:
        raise UnsupportedError("only a selection among two cases has an ONNX form")
    return elementwise(writer, equation, "Where", which, cases[1], cases[0])


@handles("convert_element_type")
def _convert(writer: Writer, equation: Equation, operand: Operand) -> Operand:
    dtype = graph_dtype(equation.outputs[0].aval.dtype)
    if operand.dtype == dtype:
        return operand
    return elementwise(writer, equation, "Cast", operand, to=helper.np_dtype_to_tensor_dtype(dtype))


@handles("hard_silu")
def _hard_silu(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    if writer.opset >= 14:
        return elementwise(writer, equation, "HardSwish", operand)
    gate = elementwise(writer, equation, "HardSigmoid", operand, **_ATTRIBUTES["hard_sigmoid"])
    return elementwise(writer, equation, "Mul", operand, gate)


@handles("gelu")
def _gelu(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    dtype = graph_dtype(equation.outputs[0].aval.dtype)

    def write(op: str, *operands: Any) -> Tensor:
        return elementwise(
            writer, equation, op, *(np.asarray(o, dtype) if isinstance(o, float) else o for o in operands)
        )

    if writer.opset >= 20:
        return elementwise(writer, equation, "Gelu", operand, approximate=equation.params["approximate"])
    # In the form that runtimes look for, to run it as one kernel.
    if equation.params["approximate"] == "none":
        gate = write("Add", write("Erf", write("Div", operand, 2**0.5)), 1.0)
        return write("Mul", write("Mul", operand, gate), 0.5)
    cubed = write("Mul", write("Mul", operand, operand), operand)
    inner = write("Mul", write("Add", operand, write("Mul", cubed, 0.044715)), (2 / np.pi) ** 0.5)
    return write("Mul", write("Mul", operand, 0.5), write("Add", write("Tanh", inner), 1.0))
