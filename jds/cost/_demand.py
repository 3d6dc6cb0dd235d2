"""How many elements of its operands an operation needs for some elements of its results."""

import math
from collections.abc import Callable, Sequence

from jds._common.text import Number
from jds.cost._program import Operation
from jds.cost.rules import ELEMENTWISE, SCATTERS, Equation, WindowAxis, convolution_axes, window_axes

# A function of the equation, the place of an operand, and the number of elements of the results that are needed.
DemandRule = Callable[[Equation, int, Number], Number]

# The position of the updates among the operands of operations that change a part of their first operand.
UPDATES = {"dynamic_update_slice": 1} | dict.fromkeys(SCATTERS, 2)

# Results with a part of the operand, or with its elements in another order, or changed one by one.
_PARTS = ("slice", "transpose", "rev", "copy", "real", "imag", "complex", "split", "unstack")
_WINDOWS = (
    "reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min", "select_and_gather_add",
)  # fmt: skip
_REDUCTIONS = ("argmax", "argmin", *(f"reduce_{name}" for name in ("sum", "max", "min", "prod", "and", "or", "xor")))

_LEAST: dict[str, DemandRule] = {}


def elements(aval: object) -> int:
    """Returns the number of elements of an array."""
    return math.prod(getattr(aval, "shape", ()))


def least_demand(operation: Operation, place: int, needed: Number) -> Number:
    """Returns how many elements of an operand are read at least, whatever the data and the compiler are.

    Args:
      operation: the operation.
      place: the operand's place.
      needed: how many elements of the results are needed, all results together.
    """
    equation = operation.equation
    whole = elements(equation.inputs[place])
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


@_rule("broadcast_in_dim", *_REDUCTIONS, "dot_general")
def _in_proportion(equation: Equation, place: int, needed: Number) -> Number:
    return elements(equation.inputs[place]) * _share(equation, needed)


@_rule("reduce")
def _reduce(equation: Equation, place: int, needed: Number) -> Number:
    count = len(equation.inputs) // 2
    return elements(equation.inputs[place]) * _share(equation, needed / count) if place < count else 0


def _share(equation: Equation, needed: Number) -> Number:
    return needed / max(1, *map(elements, equation.outputs))


@_rule("pad")
def _pad(equation: Equation, place: int, needed: Number) -> Number:
    (array, *_), (out,) = equation.inputs, equation.outputs
    kept = math.prod(
        _kept(size, *config) for size, config in zip(array.shape, equation.params["padding_config"], strict=True)
    )
    # All others may be padding.
    return needed - (elements(out) - kept) if place == 0 else 0


def _kept(size: int, low: int, high: int, holes: int) -> int:
    """Returns how many of the elements along an axis are left; some are cut off if the padding is negative."""
    step = holes + 1
    first = max(0, -(low // step))
    last = (step * (size - 1) + min(0, high)) // step
    return max(0, last - first + 1)


@_rule("concatenate", "stack")
def _concatenate(equation: Equation, place: int, needed: Number) -> Number:
    own = elements(equation.inputs[place])
    return needed - (elements(equation.outputs[0]) - own)


@_rule("gather")
def _gather(equation: Equation, place: int, needed: Number) -> Number:
    if place:
        return elements(equation.inputs[place]) * _share(equation, needed)
    return min(needed, math.prod(equation.params["slice_sizes"]))  # all indices may be the same


@_rule("dynamic_slice")
def _dynamic_slice(equation: Equation, place: int, needed: Number) -> Number:
    return needed if place == 0 else 1


@_rule(*UPDATES)
def _update(equation: Equation, place: int, needed: Number) -> Number:
    (array, *_), updates = equation.inputs, elements(equation.inputs[UPDATES[equation.primitive]])
    if place == 0:
        return needed - updates
    if equation.primitive == "dynamic_update_slice":
        return needed - (elements(array) - updates) if place == 1 else 1
    return 0  # indices outside of the array change nothing


@_rule("conv_general_dilated", *_WINDOWS)
def _windows(equation: Equation, place: int, needed: Number) -> Number:
    array, (out, *_) = equation.inputs[place], equation.outputs
    if equation.primitive == "conv_general_dilated":
        axes = convolution_axes(equation)
    else:
        axes = window_axes(equation.inputs[0], out, equation.params)
        place = 0  # of `select_and_gather_add`, both operands have the windows
        if not array.shape:
            return 0  # what a sum begins with
    read: Number = elements(array)
    for axis in axes:
        size = (axis.input, axis.kernel)[place]
        read = read * _positions(axis)[place] / max(1, size)
    return read * _share(equation, needed)


def _positions(axis: WindowAxis) -> Sequence[int]:
    """Returns how many positions of the input, and of the kernel, meet any of the other."""
    inputs, kernel = set[int](), set[int]()
    for k in range(axis.kernel):
        for o in range(axis.output):
            place = axis.stride * o + axis.rhs_dilation * k - axis.low
            if place % axis.lhs_dilation == 0 and 0 <= place // axis.lhs_dilation < axis.input:
                inputs.add(place // axis.lhs_dilation)
                kernel.add(k)
    return len(inputs), len(kernel)
