"""Equations that move elements."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax
from onnx import helper

from jds.exporting._equations import Equation
from jds.exporting._sizes import is_size
from jds.exporting.onnx._elementwise import common_order
from jds.exporting.onnx._grouping import grouped
from jds.exporting.onnx._tensors import Order, Tensor
from jds.exporting.onnx._writer import Operand, UnsupportedError, Writer, handles


def _indices(values: Sequence[Any]) -> np.ndarray:
    return np.asarray(values, np.int64)


@handles("reshape")
def _reshape(writer: Writer, equation: Equation, operand: Operand) -> Tensor:
    return writer.reshaped(writer.full(operand), equation.outputs[0].aval.shape)


@handles("transpose")
def _transpose(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    permutation = equation.params["permutation"]
    sizes, shape = (tuple(values[axis] for axis in permutation) for values in (operand.sizes, operand.shape))
    order = tuple(permutation.index(axis) for axis in operand.order)
    return Tensor(operand.name, sizes, shape, order, operand.dtype)


@handles("broadcast_in_dim")
def _broadcast(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    axes, shape = equation.params["broadcast_dimensions"], equation.outputs[0].aval.shape
    sizes: list[Any] = [1] * len(shape)
    for axis, size in zip(axes, operand.sizes, strict=True):
        sizes[axis] = size
    thin = writer.reshaped(operand, sizes)
    return Tensor(thin.name, tuple(sizes), shape, thin.order, thin.dtype)


@handles("concatenate")
def _concatenate(writer: Writer, equation: Equation, *operands: Operand) -> Tensor:
    return _joined(writer, equation, [*map(writer.full, operands)], equation.params["dimension"])


@handles("stack")
def _stack(writer: Writer, equation: Equation, *operands: Operand) -> Tensor:
    out, axis = equation.outputs[0].aval, equation.params["axis"]
    part = (*out.shape[:axis], 1, *out.shape[axis + 1 :])
    whole = map(writer.full, operands)
    parts = [writer.reshaped(one, part) if isinstance(one, Tensor) else one.reshape(part) for one in whole]
    return _joined(writer, equation, parts, axis)


def _joined(writer: Writer, equation: Equation, parts: Sequence[Operand], axis: int) -> Tensor:
    out, order = equation.outputs[0].aval, common_order(parts)
    if (node := grouped(writer, parts, order, axis)) is not None:
        return writer.tensor(node, out.shape, order, out.dtype)
    node = writer.add("Concat", *(writer.in_order(part, order) for part in parts), axis=order.index(axis))
    return writer.tensor(node, out.shape, order, out.dtype)


@handles("tile")
def _tile(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    operand, repeats = writer.full(operand), equation.params["reps"]
    node = writer.add("Tile", operand, _indices([repeats[axis] for axis in operand.order]))
    return writer.tensor(node, equation.outputs[0].aval.shape, operand.order, operand.dtype)


@handles("unstack")
def _unstack(writer: Writer, equation: Equation, operand: Tensor) -> list[Tensor]:
    shape, axis = equation.outputs[0].aval.shape, equation.params["axis"]
    part = (*shape[:axis], 1, *shape[axis:])
    parts = _split_into(writer, writer.full(operand), axis, [part] * len(equation.outputs))
    return [writer.reshaped(one, shape) for one in parts]


@handles("split")
def _split(writer: Writer, equation: Equation, operand: Tensor) -> list[Tensor]:
    shapes = [var.aval.shape for var in equation.outputs]
    return _split_into(writer, writer.full(operand), equation.params["axis"], shapes)


def _split_into(writer: Writer, operand: Tensor, axis: int, shapes: Sequence[Any]) -> list[Tensor]:
    sizes, position = [int(shape[axis]) for shape in shapes], operand.position(axis)
    if writer.opset >= 13:
        node = writer.add("Split", operand, _indices(sizes), outputs=len(sizes), axis=position)
    else:
        node = writer.add("Split", operand, outputs=len(sizes), axis=position, split=sizes)
    return [writer.tensor(node, shape, operand.order, operand.dtype, place) for place, shape in enumerate(shapes)]


def sliced(writer: Writer, operand: Tensor, shape, starts, limits, steps) -> Tensor:
    """Slices a tensor; sizes and places are in the program's order of axes."""
    changed = [
        axis
        for axis, (start, limit, step) in enumerate(zip(starts, limits, steps, strict=True))
        if step != 1 or start != 0 or not is_size(limit, operand.shape[axis])
    ]
    if not changed:
        return operand
    if not all(isinstance(limits[axis], int) for axis in changed):
        raise UnsupportedError("a slice that depends on a free size")
    arguments = [[values[axis] for axis in changed] for values in (starts, limits)]
    positions = [operand.position(axis) for axis in changed]
    inputs = [*arguments, positions, [steps[axis] for axis in changed]]
    node = writer.add("Slice", operand, *map(_indices, inputs))
    return writer.tensor(node, shape, operand.order, operand.dtype)


@handles("slice")
def _slice(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    operand, params = writer.full(operand), equation.params
    steps = params["strides"] or (1,) * len(operand.shape)
    shape = equation.outputs[0].aval.shape
    return sliced(writer, operand, shape, params["start_indices"], params["limit_indices"], steps)


@handles("dynamic_slice")
def _dynamic_slice(writer: Writer, equation: Equation, operand: Tensor, *starts: Any) -> Tensor:
    if not all(isinstance(start, np.ndarray) for start in starts):
        raise UnsupportedError("a slice whose place depends on the inputs has no ONNX form")
    operand, shape = writer.full(operand), equation.outputs[0].aval.shape
    first = [
        max(0, min(int(start), size - part)) if isinstance(size, int) else 0
        for start, size, part in zip(starts, operand.shape, shape, strict=True)
    ]
    return sliced(writer, operand, shape, first, [a + b for a, b in zip(first, shape, strict=True)], [1] * len(shape))


@handles("rev")
def _reverse(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    operand, axes = writer.full(operand), equation.params["dimensions"]
    positions = [operand.position(axis) for axis in axes]
    # From the last element to the one before the first, whatever the size.
    lowest = np.iinfo(np.int64).min
    inputs = [[-1] * len(axes), [lowest] * len(axes), positions, [-1] * len(axes)]
    node = writer.add("Slice", operand, *map(_indices, inputs))
    return writer.tensor(node, operand.shape, operand.order, operand.dtype)


@handles("pad")
def _pad(writer: Writer, equation: Equation, operand: Operand, value: Operand) -> Tensor:
    padding = equation.params["padding_config"]
    if any(interior for _, _, interior in padding):
        raise UnsupportedError("padding between the elements has no ONNX form")
    if not isinstance(operand, Tensor) or not isinstance(value, np.ndarray):
        raise UnsupportedError("padding with a value that depends on the inputs")
    return padded(writer, writer.full(operand), [(int(low), int(high)) for low, high, _ in padding], value)


def padded(writer: Writer, operand: Tensor, padding: Sequence[tuple[int, int]], value: np.ndarray) -> Tensor:
    """Pads a tensor, or cuts from it where the padding is negative."""
    if any(side < 0 for pair in padding for side in pair):
        starts = [max(0, -low) for low, _ in padding]
        limits = [size + min(0, high) for size, (_, high) in zip(operand.shape, padding, strict=True)]
        shape = [limit - start for start, limit in zip(starts, limits, strict=True)]
        operand = sliced(writer, operand, shape, starts, limits, [1] * len(shape))
        padding = [(max(0, low), max(0, high)) for low, high in padding]
    if not any(side for pair in padding for side in pair):
        return operand
    lows, highs = ([padding[axis][side] for axis in operand.order] for side in (0, 1))
    node = writer.add("Pad", operand, _indices(lows + highs), np.asarray(value, operand.dtype).reshape(()))
    shape = [size + low + high for size, (low, high) in zip(operand.shape, padding, strict=True)]
    return writer.tensor(node, shape, operand.order, operand.dtype)


@handles("gather")
def _gather(writer: Writer, equation: Equation, operand: Operand, indices: Operand) -> Tensor:
    """Writes the selection of whole slices along one axis, as `x[:, 0]` and `jnp.take` are traced."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    shape = operand.shape
    (axis, *more) = numbers.start_index_map
    is_taken = tuple(numbers.collapsed_slice_dims) == (axis,) and not numbers.operand_batching_dims
    others = [size for place, size in enumerate(sizes) if place != axis]
    if more or not is_taken or others != [size for place, size in enumerate(shape) if place != axis]:
        raise UnsupportedError("only the selection of whole slices along one axis has an ONNX form")
    out = equation.outputs[0].aval
    rank = len(out.shape) - len(numbers.offset_dims)
    first = axis
    if tuple(numbers.offset_dims) != (*range(first), *range(first + rank, len(out.shape))):
        raise UnsupportedError("only the selection of whole slices along one axis has an ONNX form")
    where = writer.in_order(writer.full(indices), tuple(range(len(indices.shape))))
    where = writer.reshaped(where, where.shape[:-1]) if isinstance(where, Tensor) else where[..., 0]
    where = _inside(writer, where, shape[axis], equation.params["mode"])
    source = operand if isinstance(operand, np.ndarray) else writer.in_order(writer.full(operand), _identity(operand))
    return writer.tensor(writer.add("Gather", source, where, axis=axis), out.shape, _identity(out), out.dtype)


def _inside(writer: Writer, where: Operand, size: int, mode: lax.GatherScatterMode) -> Operand:
    """Returns the indices with what JAX does about those out of range, where ONNX's runtimes fail."""
    if mode == lax.GatherScatterMode.PROMISE_IN_BOUNDS:
        return where
    if isinstance(where, np.ndarray):
        clipped = np.clip(where, 0, size - 1)
        if mode == lax.GatherScatterMode.CLIP or np.array_equal(clipped, where):
            return clipped
        raise UnsupportedError(f"an index is out of range, from {where.min()} to {where.max()} for size {size}")
    if mode != lax.GatherScatterMode.CLIP:
        raise UnsupportedError(
            "computed indices out of range give NaN in JAX, and fail in ONNX; use jnp.take(..., mode='clip')"
        )
    if writer.opset < 12:
        raise UnsupportedError(f"clipped indices need opset 12, not {writer.opset}")
    least, greatest = (np.asarray(end, where.dtype) for end in (0, size - 1))
    node = writer.add("Min", writer.add("Max", where, least).outputs[0], greatest)
    return writer.tensor(node, where.shape, where.order, where.dtype)


def _identity(array: Any) -> Order:
    return tuple(range(len(array.shape)))


@handles("argmax", "argmin")
def _arg(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    operand, out = writer.full(operand), equation.outputs[0].aval
    (axis,) = equation.params["axes"]
    op = {"argmax": "ArgMax", "argmin": "ArgMin"}[equation.name]
    node = writer.add(op, operand, axis=operand.position(axis), keepdims=0)
    cast = writer.add("Cast", node.outputs[0], to=helper.np_dtype_to_tensor_dtype(np.dtype(out.dtype)))
    order = tuple(a - (a > axis) for a in operand.order if a != axis)
    return writer.tensor(cast, out.shape, order, out.dtype)


@handles("top_k")
def _top_k(writer: Writer, equation: Equation, operand: Tensor) -> list[Tensor]:
    operand = writer.full(operand)
    k, axis = equation.params["k"], equation.params.get("axis", len(operand.shape) - 1) % len(operand.shape)
    node = writer.add("TopK", operand, _indices([k]), outputs=2, axis=operand.position(axis))
    values, places = equation.outputs
    cast = writer.add("Cast", node.outputs[1], to=helper.np_dtype_to_tensor_dtype(np.dtype(places.aval.dtype)))
    return [
        writer.tensor(node, values.aval.shape, operand.order, values.aval.dtype),
        writer.tensor(cast, places.aval.shape, operand.order, places.aval.dtype),
    ]


@handles("cumsum")
def _cumulative_sum(writer: Writer, equation: Equation, operand: Tensor) -> Tensor:
    operand, axis = writer.full(operand), operand.position(equation.params["axis"])
    node = writer.add("CumSum", operand, np.asarray(axis, np.int64), reverse=int(equation.params["reverse"]))
    return writer.tensor(node, operand.shape, operand.order, operand.dtype)
