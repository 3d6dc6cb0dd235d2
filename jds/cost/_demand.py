"""How many elements of its operands an operation needs for some elements of its results."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from jds._common.text import Number
from jds.cost._program import Operation
from jds.cost.rules import (
    ELEMENTWISE,
    REDUCTIONS,
    UPDATES,
    WINDOWS,
    Equation,
    WindowAxis,
    convolution_axes,
    size,
    window_axes,
)

# A function of the equation, the place of an operand, and the number of elements of the results that are needed.
DemandRule = Callable[[Equation, int, Number], Number]

# Results with a part of the operand, or with its elements in another order, or changed one by one.
_PARTS = ("slice", "transpose", "rev", "copy", "real", "imag", "complex", "split", "unstack")

_LEAST: dict[str, DemandRule] = {}


def least_demand(operation: Operation, place: int, needed: Number) -> Number:
    """Returns how many elements of an operand are read at least, whatever the data and the compiler are.

    Args:
      operation: the operation.
      place: the operand's place.
      needed: how many elements of the results are needed, all results together.
    """
    equation = operation.equation
    whole = size(equation.inputs[place])
    if not needed:
        return 0
    rule = _LEAST.get(operation.name) or (_each if operation.is_elementwise else None)
    if rule is None and operation.cost is not None and operation.cost.kind == "data movement":
        return 0  # it may select
    return whole if rule is None else max(0, min(whole, rule(equation, place, needed)))


def _rule(*names: str) -> Callable[[DemandRule], DemandRule]:
    def decorator(rule: DemandRule) -> DemandRule:
        _LEAST.update(dict.fromkeys(names, rule))
        return rule

    return decorator


@_rule(*ELEMENTWISE, *_PARTS)
def _each(equation: Equation, place: int, needed: Number) -> Number:
    return needed


@_rule("broadcast_in_dim", *REDUCTIONS, "dot_general")
def _in_proportion(equation: Equation, place: int, needed: Number) -> Number:
    return size(equation.inputs[place]) * _share(equation, needed)


@_rule("reduce")
def _reduce(equation: Equation, place: int, needed: Number) -> Number:
    count = len(equation.inputs) // 2
    return size(equation.inputs[place]) * _share(equation, needed / count) if place < count else 0


def _share(equation: Equation, needed: Number) -> Number:
    return needed / max(1, *map(size, equation.outputs))


@_rule("pad")
def _pad(equation: Equation, place: int, needed: Number) -> Number:
    (array, *_), (out,) = equation.inputs, equation.outputs
    kept = math.prod(
        _kept(length, *config) for length, config in zip(array.shape, equation.params["padding_config"], strict=True)
    )
    # All others may be padding.
    return needed - (size(out) - kept) if place == 0 else 0


def _kept(length: int, low: int, high: int, holes: int) -> int:
    """Returns how many of the elements along an axis are left; some are cut off if the padding is negative."""
    step = holes + 1
    first = max(0, -(low // step))
    last = (step * (length - 1) + min(0, high)) // step
    return max(0, last - first + 1)


@_rule("concatenate", "stack")
def _concatenate(equation: Equation, place: int, needed: Number) -> Number:
    own = size(equation.inputs[place])
    return needed - (size(equation.outputs[0]) - own)


@_rule("gather")
def _gather(equation: Equation, place: int, needed: Number) -> Number:
    if place:
        return size(equation.inputs[place]) * _share(equation, needed)
    return min(needed, math.prod(equation.params["slice_sizes"]))  # all indices may be the same


@_rule("dynamic_slice")
def _dynamic_slice(equation: Equation, place: int, needed: Number) -> Number:
    return needed if place == 0 else 1


@_rule(*UPDATES)
def _update(equation: Equation, place: int, needed: Number) -> Number:
    (array, *_), updates = equation.inputs, size(equation.inputs[UPDATES[equation.primitive]])
    if place == 0:
        return needed - updates
    if equation.primitive == "dynamic_update_slice":
        return needed - (size(array) - updates) if place == 1 else 1
    return 0  # indices outside of the array change nothing


@_rule("conv_general_dilated", *WINDOWS)
def _windows(equation: Equation, place: int, needed: Number) -> Number:
    array, (out, *_) = equation.inputs[place], equation.outputs
    if equation.primitive == "conv_general_dilated":
        axes = convolution_axes(equation)
    else:
        axes = window_axes(equation.inputs[0], out, equation.params)
        place = 0  # of `select_and_gather_add`, both operands have the windows
        if not array.shape:
            return 0  # what a sum begins with
    read: Number = size(array)
    for axis in axes:
        read = read * _positions(axis)[place] / max(1, (axis.input, axis.kernel)[place])
    return read * _share(equation, needed)


def _positions(axis: WindowAxis) -> Sequence[int]:
    """Returns how many positions of the input, and of the kernel, meet any of the other."""
    inputs, met = np.zeros(axis.input, bool), [np.zeros(axis.output, bool), np.zeros(axis.kernel, bool)]
    steps = axis.stride, axis.rhs_dilation
    short, long = (0, 1) if axis.output < axis.kernel else (1, 0)
    for number in range(len(met[short])):
        places = steps[long] * np.arange(len(met[long])) + (steps[short] * number - axis.low)
        is_read = (places % axis.lhs_dilation == 0) & (places >= 0) & (places < axis.lhs_dilation * axis.input)
        inputs[places[is_read] // axis.lhs_dilation] = True
        met[long] |= is_read
        met[short][number] = is_read.any()
    return int(inputs.sum()), int(met[1].sum())
