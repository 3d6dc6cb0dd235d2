"""Makes StableHLO of a program, in the form that becomes the fewest operations of Core ML."""

import re
import traceback
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Var

from jds.exporting._equations import Equation, Program, shape_of, without_unread
from jds.exporting.coreml import _operations

# Scopes with the numbers of the equations, by which an operation that the converter refuses is traced back.
_SCOPE = "jds_equation_"
# Equations that compute each element of their result from the elements at the same place.
_POINTWISE = {
    "add",
    "sub",
    "mul",
    "div",
    "max",
    "min",
    "neg",
    "abs",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "square",
    "tanh",
} | {*("clip", "logistic", "hard_silu", "hard_sigmoid", "gelu", "softplus")}

_REDUCTIONS = {
    "reduce_sum": jnp.sum,
    "reduce_mean": jnp.mean,
    "reduce_max": jnp.max,
    "reduce_min": jnp.min,
    "reduce_prod": jnp.prod,
    "reduce_and": jnp.all,
    "reduce_or": jnp.any,
}


def compute(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """Computes the results of a program; to be traced.

    What is computed of the mean of each channel has the shape of an image of one pixel. Dense layers are convolutions
    then, and no axes are moved.
    """
    values: dict[Var, Any] = dict(zip(program.inputs, inputs, strict=True))

    def narrow(value: Any) -> Any:
        return _constant(value) if isinstance(value, np.ndarray) else values[value].reshape(value.aval.shape)

    for number, equation in enumerate(program.equations):
        with jax.named_scope(f"{_SCOPE}{number}"):
            pixels = _as_pixels(equation, values)
            operands = [*map(narrow, equation.inputs)] if pixels is None else pixels
            results = _computed(equation, operands)
        values |= dict(zip(equation.outputs, results, strict=True))
    return [*map(narrow, program.outputs)]


def _as_pixels(equation: Equation, values: dict[Var, Any]) -> list[Any] | None:
    """Returns the operands as images of one pixel, if one of them is, and the result is to be one."""
    is_dense, is_reshape = _is_dense_layer(equation), equation.name == "reshape"
    if equation.name not in _POINTWISE and not is_dense and not is_reshape:
        return None
    if not any(isinstance(value, Var) and values[value].ndim > len(shape_of(value)) for value in equation.inputs):
        return None
    if is_dense or is_reshape:
        return [values[equation.inputs[0]], *equation.inputs[1:]]
    operands = [_constant(value) if isinstance(value, np.ndarray) else values[value] for value in equation.inputs]
    return [value[:, None, None] if value.ndim == 2 else value for value in operands]


def _constant(array: np.ndarray) -> Any:
    """Returns a constant such that what is broadcast is stored once."""
    is_repeated = [stride == 0 and size > 1 for stride, size in zip(array.strides, array.shape, strict=True)]
    once = array[tuple(slice(0, 1) if repeated else slice(None) for repeated in is_repeated)]
    return jnp.broadcast_to(once, array.shape) if any(is_repeated) else array


def refused(program: Program, error: Exception) -> Equation | None:
    """Returns the equation whose operation was translated when an error was raised, if one was."""
    numbers = [
        re.findall(rf"{_SCOPE}(\d+)", str(frame.f_locals["op"].location))
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if hasattr(frame.f_locals.get("op"), "location")
    ]
    found = [int(number) for numbers_of_op in numbers for number in numbers_of_op]
    return program.equations[found[-1]] if found else None


def find_clips(program: Program) -> Program:
    """Makes one equation, `clip`, of maxima and minima with a number."""
    made_by = {var: equation for equation in program.equations for var in equation.outputs}
    for equation in program.equations:
        limits = _limits(equation)
        if limits is None:
            continue
        x, low, high = limits
        inner = made_by.get(x)
        if inner is not None and inner.name == "clip":
            both = max(low, inner.params["low"]), min(high, inner.params["high"])
            if both[0] <= both[1]:
                x, low, high = inner.inputs[0], *both
        equation.name, equation.inputs, equation.params = "clip", [x], {"low": low, "high": high}
    return without_unread(program)


def _limits(equation: Equation) -> tuple[Var, float, float] | None:
    """Returns an array, and the numbers between which the equation puts it."""
    if equation.name not in ("max", "min", "clamp") or equation.outputs[0].aval.dtype != np.float32:
        return None
    numbers = [value.item() for value in equation.inputs if isinstance(value, np.ndarray) and value.size == 1]
    arrays = [value for value in equation.inputs if isinstance(value, Var)]
    if len(arrays) != 1 or len(numbers) + 1 != len(equation.inputs):
        return None
    if equation.name == "clamp":
        return (arrays[0], *numbers) if isinstance(equation.inputs[1], Var) else None
    return (arrays[0], numbers[0], np.inf) if equation.name == "max" else (arrays[0], -np.inf, numbers[0])


def _computed(equation: Equation, operands: list[Any]) -> list[Any]:
    if operands[0].ndim == 4 and _is_dense_layer(equation):
        return [_as_convolution(*operands)]
    if equation.name == "layer_norm":
        return [_layer_norm(operands, equation.params)]
    if equation.name in ("reduce_window_max", "reduce_window_sum") and _is_pool(equation):
        return [_pool(operands[0], equation)]
    if equation.name == "split":
        sizes = np.asarray(equation.params["sizes"], np.int32)
        return _operations.call("split", operands, {"sizes": sizes, "axis": equation.params["axis"]})
    if equation.name == "logistic":
        return [_operations.call("logistic", operands, {})]
    if equation.name == "convert_element_type" and operands[0].dtype == equation.params["new_dtype"]:
        return operands  # an image, whose pixels are floats already
    if equation.name == "reshape":
        return [operands[0].reshape(equation.outputs[0].aval.shape)]
    if equation.name.startswith("reduce_") and "axes" in equation.params:
        return [_reduced(equation, operands[0])]
    if equation.name in _operations.OPERATIONS:
        return [_operations.call(equation.name, operands, equation.params)]
    primitive = equation.source.primitive
    results = primitive.bind(*operands, **equation.source.params)
    return results if primitive.multiple_results else [results]


def _is_pool(equation: Equation) -> bool:
    """Whether windows are of images of float32, each channel on its own."""
    aval, params = equation.outputs[0].aval, equation.params
    if len(aval.shape) != 4 or aval.dtype != np.float32:
        return False
    has_dilation = any(size != 1 for size in (*params["base_dilation"], *params["window_dilation"]))
    outer = [
        (params["window_dimensions"][axis], params["window_strides"][axis], params["padding"][axis]) for axis in (0, 3)
    ]
    return not has_dilation and all(axis == (1, 1, (0, 0)) for axis in outer)


def _pool(x: jax.Array, equation: Equation) -> jax.Array:
    params = equation.params
    sizes, strides = (np.asarray(params[name][1:3], np.int32) for name in ("window_dimensions", "window_strides"))
    pads = np.asarray(params["padding"][1:3], np.int32).reshape(-1)
    described = {"sizes": sizes, "strides": strides, "pads": pads, "is_max": equation.name == "reduce_window_max"}
    return _channels_last(_operations.call("pool", [_channels_first(x)], described))


def _channels_first(x: jax.Array) -> jax.Array:
    return x.transpose(0, 3, 1, 2)


def _channels_last(x: jax.Array) -> jax.Array:
    return x.transpose(0, 2, 3, 1)


def _reduced(equation: Equation, x: jax.Array) -> jax.Array:
    """Reduces an array; of images, what is left of each channel stays an image of one pixel."""
    axes = equation.params["axes"]
    keeps = equation.params.get("keepdims", False) or (x.ndim == 4 and axes == (1, 2))
    if x.dtype != np.float32 or equation.name not in _operations.OPERATIONS:
        return _REDUCTIONS[equation.name](x, axes, keepdims=keeps)
    return _operations.call(equation.name, [x], {"axes": np.asarray(axes, np.int32), "keepdims": keeps})


def _is_dense_layer(equation: Equation) -> bool:
    """Whether an equation multiplies the features of images, or of pixels, with constant weights."""
    if equation.name != "dot_general" or not isinstance(equation.inputs[1], np.ndarray):
        return False
    rank = len(shape_of(equation.inputs[0]))
    contracted, batched = equation.params["dimension_numbers"]
    is_last = contracted == ((rank - 1,), (0,)) and batched == ((), ())
    return rank in (2, 4) and equation.inputs[1].ndim == 2 and is_last


def _as_convolution(x: jax.Array, weights: Any) -> jax.Array:
    """A convolution has its channels first in Core ML as those around it, so no axes are moved."""
    return lax.conv_general_dilated(x, weights[None, None], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _layer_norm(operands: list[Any], params: dict[str, Any]) -> jax.Array:
    """Normalizes with the channels first, for the same reason."""
    x, *values = operands
    if x.ndim != 4:
        return _operations.call("layer_norm", operands, params | {"axis": x.ndim - 1})
    return _channels_last(_operations.call("layer_norm", [_channels_first(x), *values], params | {"axis": 1}))
