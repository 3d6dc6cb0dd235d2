"""Products of matrices."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jds.exporting._equations import Equation
from jds.exporting.onnx._tensors import Tensor, count
from jds.exporting.onnx._writer import Operand, Writer, handles


@handles("dot_general")
def _dot(writer: Writer, equation: Equation, lhs: Operand, rhs: Operand) -> Tensor:
    (contracted_lhs, contracted_rhs), (batch_lhs, batch_rhs) = equation.params["dimension_numbers"]
    sides = [
        _Side(writer.full(lhs), tuple(contracted_lhs), tuple(batch_lhs)),
        _Side(writer.full(rhs), tuple(contracted_rhs), tuple(batch_rhs)),
    ]
    lhs_side, rhs_side = (side.with_one_contracted(writer) for side in sides)
    for one, other, is_swapped in ((lhs_side, rhs_side, False), (rhs_side, lhs_side, True)):
        if isinstance(one.operand, Tensor) and other.is_matrix:
            return _with_matrix(writer, equation, one, np.asarray(other.operand), other.contracted[0], is_swapped)
    return _general(writer, lhs_side, rhs_side, equation.outputs[0].aval.dtype)


class _Side(NamedTuple):
    """An operand of a product, with its contracted axes and its batch axes."""

    operand: Operand
    contracted: tuple[int, ...]
    batch: tuple[int, ...]

    @property
    def free(self) -> tuple[int, ...]:
        used = (*self.contracted, *self.batch)
        return tuple(axis for axis in range(len(self.operand.shape)) if axis not in used)

    @property
    def is_matrix(self) -> bool:
        """Whether it is a constant with one contracted and one other axis."""
        return isinstance(self.operand, np.ndarray) and not self.batch and len(self.free) == 1

    def with_one_contracted(self, writer: Writer) -> "_Side":
        """Merges the contracted axes, or adds one, so that there is exactly one, the last."""
        if len(self.contracted) == 1:
            return self
        batch = tuple(range(len(self.batch)))
        kept = [self.operand.shape[axis] for axis in (*self.batch, *self.free)]
        size = math.prod(self.operand.shape[axis] for axis in self.contracted)
        axes = (*self.batch, *self.free, *self.contracted)
        return _Side(_rearranged(writer, self.operand, axes, [*kept, size]), (len(kept),), batch)


def _with_matrix(
    writer: Writer, equation: Equation, side: _Side, matrix: np.ndarray, contracted: int, is_swapped: bool
) -> Tensor:
    """Multiplies by a constant matrix: as Gemm, as a convolution with one position, or as MatMul."""
    out, (axis,) = equation.outputs[0].aval, side.contracted
    tensor, rank = side.operand, len(side.operand.shape)
    assert isinstance(tensor, Tensor)
    matrix = matrix if contracted == 1 else matrix.T  # (out_features, in_features)
    # The axes of the result in which those of the operand continue; the features are first if the matrix was.
    places = {old: new + is_swapped for new, old in enumerate(side.free)}
    places[axis] = 0 if is_swapped else rank - 1
    if rank == 2:
        stored = writer.in_order(tensor, (side.free[0], axis))
        node = writer.add("Gemm", stored, np.ascontiguousarray(matrix), transB=1)
        return writer.tensor(node, out.shape, (places[side.free[0]], places[axis]), out.dtype)
    if rank == 4 and _was_turned_for_norm(writer, tensor):
        tensor = writer.in_order(tensor, (tensor.order[0], axis, *(a for a in tensor.order[1:] if a != axis)))
    if rank > 2 and tensor.position(axis) == 1:
        ones = (1,) * (rank - 2)
        node = writer.add("Conv", tensor, np.ascontiguousarray(matrix).reshape(*matrix.shape, *ones), kernel_shape=ones)
        return writer.tensor(node, out.shape, tuple(places[a] for a in tensor.order), out.dtype)
    stored = writer.in_order(tensor, (*(a for a in tensor.order if a != axis), axis))
    node = writer.add("MatMul", stored, np.ascontiguousarray(matrix.T))
    return writer.tensor(node, out.shape, tuple(places[a] for a in stored.order), out.dtype)


def _was_turned_for_norm(writer: Writer, tensor: Tensor) -> bool:
    """Whether the features are last for a norm only; for the engines, products are faster as convolutions."""
    norm = writer.graph.made_by.get(tensor.name)
    if norm is None or norm.op != "LayerNormalization":
        return False
    before = writer.graph.made_by.get(str(norm.inputs[0]))
    return before is not None and before.op == "Transpose"


def _general(writer: Writer, lhs: _Side, rhs: _Side, dtype: Any) -> Tensor:
    """Multiplies two operands, storing them so that little is transposed.

    One operand, the wide one, keeps its free axes. The other one has at most one, and is broadcast along the rest.
    """
    if len(lhs.free) > 1 and len(rhs.free) > 1:
        return _with_merged_axes(writer, lhs, rhs, dtype)
    plan = min([*_plans(lhs, rhs), *_plans(rhs, lhs)], key=lambda plan: plan.cost)
    operands = [_stored(writer, plan.wide, plan.wide_axes), _stored(writer, plan.thin, plan.thin_axes)]
    node = writer.add("MatMul", *operands[:: 1 if plan.is_left else -1])
    # The axes of the result, as those of the wide operand or of the thin one; None for an axis of size 1.
    *rest, row, column = plan.wide_axes
    free = plan.thin.free[0] if plan.thin.free else None
    axes = [(plan.wide, axis) for axis in rest]
    axes += [(plan.wide, row), (plan.thin, free)] if plan.is_left else [(plan.thin, free), (plan.wide, column)]
    batch = [lhs.operand.shape[axis] for axis in lhs.batch]
    shape = [*batch, *(side.operand.shape[axis] for side in (lhs, rhs) for axis in side.free)]
    order = [_place(lhs, rhs, side, axis) for side, axis in axes if axis is not None]
    if len(order) < len(axes):
        node = writer.add("Reshape", node.outputs[0], writer.shape_input([shape[place] for place in order]))
    return writer.tensor(node, shape, tuple(order), dtype)


class _Plan(NamedTuple):
    """How to store the operands of a MatMul.

    Attributes:
      wide, thin: the operands.
      is_left: whether the wide operand is the left one, whose last axis is contracted.
      wide_axes, thin_axes: their axes as they are to be stored; None for an additional axis of size 1.
      cost: number of elements to transpose.
    """

    wide: _Side
    thin: _Side
    is_left: bool
    wide_axes: tuple[int | None, ...]
    thin_axes: tuple[int | None, ...]
    cost: int


def _plans(wide: _Side, thin: _Side) -> Iterator[_Plan]:
    """Returns the ways to store the operands in which `wide` keeps its free axes."""
    if len(thin.free) > 1:
        return
    (contracted,), (other,) = wide.contracted, thin.contracted
    stored = wide.operand.order if isinstance(wide.operand, Tensor) else range(wide.operand.ndim)
    batch = [axis for axis in stored if axis in wide.batch]
    free = [axis for axis in stored if axis in wide.free]
    last, thin_last = (free[-1] if free else None), (thin.free[0] if thin.free else None)
    ahead = [*batch, *free[:-1]]
    thin_ahead = [thin.batch[wide.batch.index(axis)] for axis in batch] + [None] * len(free[:-1])
    for is_left in (True, False):
        ends = [(last, contracted), (other, thin_last)] if is_left else [(contracted, last), (thin_last, other)]
        axes = (*ahead, *ends[0]), (*thin_ahead, *ends[1])
        cost = _cost(wide.operand, axes[0]) + _cost(thin.operand, axes[1])
        yield _Plan(wide, thin, is_left, *axes, cost)


def _cost(operand: Operand, axes: Sequence[int | None]) -> int:
    order = tuple(axis for axis in axes if axis is not None)
    return count(operand.sizes) if isinstance(operand, Tensor) and operand.order != order else 0


def _stored(writer: Writer, side: _Side, axes: Sequence[int | None]) -> Tensor | np.ndarray | str:
    """Returns an operand with its axes stored like this, some of them additional ones of size 1."""
    operand = writer.in_order(side.operand, tuple(axis for axis in axes if axis is not None))
    if None not in axes:
        return operand
    shape = [1 if axis is None else side.operand.shape[axis] for axis in axes]
    if isinstance(operand, np.ndarray):
        return operand.reshape(shape)
    return writer.add("Reshape", operand, writer.shape_input(shape)).outputs[0]


def _place(lhs: _Side, rhs: _Side, side: _Side, axis: int) -> int:
    """Returns the axis of the result in which an axis of an operand continues."""
    if axis in side.batch:
        return side.batch.index(axis)
    before = len(lhs.batch) + (0 if side is lhs else len(lhs.free))
    return before + side.free.index(axis)


def _with_merged_axes(writer: Writer, lhs: _Side, rhs: _Side, dtype: Any) -> Tensor:
    """Multiplies operands that both have several free axes, after merging those of the smaller one."""
    sides = [lhs, rhs]
    shape = [lhs.operand.shape[axis] for axis in lhs.batch]
    shape += [side.operand.shape[axis] for side in sides for axis in side.free]
    small = min((0, 1), key=lambda place: count(sides[place].operand.shape))
    side = sides[small]
    axes = (*side.batch, *side.free, *side.contracted)
    sizes = [side.operand.shape[axis] for axis in axes]
    first, last = len(side.batch), len(axes) - 1
    operand = _rearranged(writer, side.operand, axes, [*sizes[:first], math.prod(sizes[first:last]), sizes[last]])
    sides[small] = _Side(operand, (first + 1,), tuple(range(first)))
    return writer.reshaped(_general(writer, sides[0], sides[1], dtype), shape)


def _rearranged(writer: Writer, operand: Operand, axes: Sequence[int], shape: Sequence[Any]) -> Operand:
    """Transposes an operand and then reshapes it."""
    if isinstance(operand, np.ndarray):
        return operand.transpose(axes).reshape(shape)
    ordered = writer.in_order(operand, tuple(axes))
    # Its axes are called by where they are stored.
    moved = Tensor(ordered.name, ordered.stored, ordered.stored, tuple(range(len(axes))), ordered.dtype)
    return writer.reshaped(moved, shape)
