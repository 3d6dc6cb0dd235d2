"""Which operations a compiler may leave out: equal ones, those on constants, and those that change nothing."""

import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jds._common.text import Number
from jds.cost._program import Loop, Operation, Program, loops_around

# All elements are this number.
_Uniform = Any
_SOME_NUMBER = object()

_COMMUTATIVE = frozenset(["add", "mul", "max", "min", "and", "or", "xor", "add_any", "eq", "ne"])
# Of uniform operands, they make a uniform result with the same number.
_REPEATING = frozenset(["broadcast_in_dim", "convert_element_type", "copy"])
# The number that changes nothing, by the operand that may be it.
_NEUTRAL: Mapping[str, tuple[Number, Sequence[int]]] = {
    "add": (0, (0, 1)), "add_any": (0, (0, 1)), "sub": (0, (1,)), "mul": (1, (0, 1)), "div": (1, (1,)),
}  # fmt: skip


class Merged(NamedTuple):
    """What is left of a program.

    Attributes:
      same_as: for each value, the first one that is taken to be equal to it.
      uniform: the values whose elements are all the same constant.
      constant: whether each value depends on no argument.
      runs: for each operation, its runs if what does not change in a loop is computed before it; 0 if the number of
        iterations of a loop around it is unknown.
    """

    same_as: Sequence[int]
    uniform: Mapping[int, _Uniform]
    constant: Sequence[bool]
    runs: Sequence[int]


def merged(program: Program) -> Merged:
    """Merges equal operations.

    A product and its transpose, which is a product of the transposed operands, are taken to be equal.

    Args:
      program: the program.
    """
    return _Merging(program).run()


class _Merging:
    """Follows the values in order.

    Attributes:
      depth: for each value, the number of loops around it in which it changes.
      untransposed: for each transpose, of which value, and which of its axes its own axes are.
      known: the values by what they are made of.
    """

    def __init__(self, program: Program):
        self.program = program
        count = len(program.values)
        self.same_as = list(range(count))
        self.untransposed: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.uniform: dict[int, _Uniform] = {}
        self.constant = [False] * count
        self.depth = [0] * count
        self.runs = [0] * len(program.operations)
        self.known: dict[Hashable, int] = {}
        self.loops = loops_around(program)
        self.unchanging, self.entering, self.leaving = _boundaries(program.loops)
        self.in_branches = program.conditional_around

    def run(self) -> Merged:
        for number, value in enumerate(self.program.values):
            if value.made_by is not None:
                if self.program.operations[value.made_by].outputs[0] == number:
                    self._follow(value.made_by)
            elif value.source is not None:
                self._pass_on(number, value.source)
            elif number in self.unchanging:
                self._pass_on(number, number)
        for place, operation in enumerate(self.program.operations):
            if not operation.outputs:
                self.runs[place] = self._runs(place, max((self.depth[i] for i in operation.inputs), default=0))
        return Merged(self.same_as, self.uniform, self.constant, self.runs)

    def _pass_on(self, number: int, source: int) -> None:
        """Follows a value into a loop, or out of one."""
        if number in self.unchanging:
            initial = self.unchanging[number]
            if initial is None:
                self.uniform[number], self.constant[number] = _SOME_NUMBER, True
            else:
                self._alias(number, initial)
        elif number in self.entering:
            self.depth[number] = self.entering[number]
        else:
            self.depth[number] = min(self.depth[source], self.leaving.get(number, self.depth[source]))

    def _runs(self, place: int, depth: int) -> int:
        """Returns the runs of an operation that changes only in the first `depth` of the loops around it."""
        loops, times = self.loops[place], self.program.operations[place].times
        if any(loop.trips is None for loop in loops):
            return 0
        if depth >= len(loops) or not times:
            return times
        return max(1, times // math.prod(loop.trips or 1 for loop in loops[depth:]))

    def _alias(self, number: int, other: int) -> None:
        other = self.same_as[other]
        self.same_as[number] = other
        self.depth[number], self.constant[number] = self.depth[other], self.constant[other]
        if other in self.uniform:
            self.uniform[number] = self.uniform[other]

    def _follow(self, place: int) -> None:
        operation = self.program.operations[place]
        operands = [None if number is None else self.same_as[number] for number in operation.operands]
        there = [number for number in operands if number is not None]
        depth = max((self.depth[number] for number in there), default=0)
        self.runs[place] = self._runs(place, depth)
        outputs = operation.outputs
        if (same := self._operand_that_it_is(operation, operands)) is not None:
            self._alias(outputs[0], same)
            return
        key = None if place in self.in_branches else self._key(operation, operands)
        first = self.known.setdefault(key, outputs[0]) if key is not None else outputs[0]
        if first != outputs[0]:
            for number, other in zip(outputs, self._outputs_with(first), strict=True):
                self._alias(number, other)
            return
        uniform = self._uniform_result(operation, operands)
        for number in outputs:
            self.depth[number] = depth
            self.constant[number] = operation.name != "cond" and all(self.constant[operand] for operand in there)
            if uniform is not None:
                self.uniform[number] = uniform
                self.constant[number] = True
        if operation.name == "transpose" and there:
            self._note_transpose(operation, there[0])

    def _note_transpose(self, operation: Operation, operand: int) -> None:
        shape = operation.equation.inputs[0].shape
        if tuple(shape) == self.program.values[operand].shape:
            before, axes = self.untransposed.get(operand, (operand, tuple(range(len(shape)))))
            permutation = operation.equation.params["permutation"]
            self.untransposed[operation.outputs[0]] = before, tuple(axes[axis] for axis in permutation)

    def _outputs_with(self, number: int) -> Sequence[int]:
        maker = self.program.values[number].made_by
        return (number,) if maker is None else self.program.operations[maker].outputs

    def _number(self, operation: Operation, place: int, operand: int | None) -> _Uniform | None:
        """Returns the number that all elements of an operand are; None if they are not, or if it is unknown."""
        if operand is None:
            found = operation.literals[place] if operation.literals else None
        else:
            found = self.uniform.get(operand)
        return None if found is _SOME_NUMBER else found

    def _is_uniform(self, operand: int | None) -> bool:
        return operand is None or operand in self.uniform

    def _operand_that_it_is(self, operation: Operation, operands: Sequence[int | None]) -> int | None:
        """Returns the operand to which the result of an operation is equal, if any."""
        numbers = functools.partial(self._number, operation)
        if operation.name in ("copy", "convert_element_type"):
            (before,), (after,) = operation.equation.inputs, operation.equation.outputs
            return operands[0] if before.dtype == after.dtype else None
        if operation.name == "select_n" and (which := numbers(0, operands[0])) is not None:
            return operands[1 + int(which)]
        neutral, places = _NEUTRAL.get(operation.name, (0, ()))
        for place in places:
            other = operands[1 - place]
            if other is not None and _equals(numbers(place, operands[place]), neutral):
                return other if self._has_shape_of(operation, 1 - place) else None
        return None

    def _has_shape_of(self, operation: Operation, place: int) -> bool:
        return operation.equation.inputs[place].shape == operation.equation.outputs[0].shape

    def _uniform_result(self, operation: Operation, operands: Sequence[int | None]) -> _Uniform | None:
        """Returns the number that all elements of the result are, if they are; `_SOME_NUMBER` if it is not known."""
        if operation.name in _REPEATING:
            return self._number(operation, 0, operands[0]) if self._is_uniform(operands[0]) else None
        if not operation.is_elementwise:
            return None
        if operands and all(map(self._is_uniform, operands)):
            return _SOME_NUMBER
        # Of floating-point numbers, 0 × NaN is NaN.
        is_exact = operation.equation.outputs[0].dtype.kind in "iub"
        if is_exact and operation.name in ("mul", "and"):
            zero = any(_equals(self._number(operation, place, each), 0) for place, each in enumerate(operands))
            return 0 if zero else None
        if is_exact and operation.name in ("sub", "xor") and None not in operands and operands[0] == operands[1]:
            return 0
        return None

    def _key(self, operation: Operation, operands: Sequence[int | None]) -> Hashable | None:
        equation = operation.equation
        if operation.name == "cond" or operation.cost is None or (not equation.params and not operation.is_elementwise):
            return None
        (out, *_) = equation.outputs
        if operation.name == "dot_general":
            return self._product_key(operation, operands)
        shapes = [tuple(getattr(aval, "shape", ())) for aval in equation.inputs]
        literals = map(repr, operation.literals) if operation.literals else ("",) * len(operands)
        read = list(zip((-1 if number is None else number for number in operands), shapes, literals, strict=True))
        if operation.name in _COMMUTATIVE:
            read.sort()
        params = tuple((name, _hashable(value)) for name, value in sorted(equation.params.items()))
        return operation.name, tuple(read), str(getattr(out, "dtype", "")), params

    def _product_key(self, operation: Operation, operands: Sequence[int | None]) -> Hashable:
        """Returns the same for a product and for its transpose, a product of transposes in the other order."""
        sides = []
        for operand, aval in zip(operands, operation.equation.inputs, strict=True):
            shape, axes = tuple(aval.shape), tuple(range(aval.ndim))
            if operand is not None and shape == self.program.values[operand].shape:
                operand, axes = self.untransposed.get(operand, (operand, axes))
                shape = self.program.values[operand].shape
            sides.append(((-1 if operand is None else operand, shape), axes))
        (left, left_axes), (right, right_axes) = sides
        pairs = [
            [(left_axes[i], right_axes[j]) for i, j in zip(*axes, strict=True)]
            for axes in operation.equation.params["dimension_numbers"]
        ]
        turned = [[(j, i) for i, j in each] for each in pairs]
        orders = ((left, right, pairs), (right, left, turned))
        both = [(one, other, *(tuple(sorted(each)) for each in axes)) for one, other, axes in orders]
        (out,) = operation.equation.outputs
        return operation.name, min(both), str(out.dtype)


def _equals(number: Any, other: Number) -> bool:
    return number is not None and np.ndim(number) == 0 and bool(number == other)


def _hashable(value: Any) -> Hashable:
    """Returns something that is equal for equal parameters; functions are left out."""
    if callable(value) or hasattr(value, "eqns"):
        return None
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _boundaries(loops: Sequence[Loop]) -> tuple[dict[int, int | None], dict[int, int], dict[int, int]]:
    """Returns what the values are that loops hand on unchanged, and the depth of all that enter and leave loops."""
    unchanging, entering, leaving = dict[int, int | None](), dict[int, int](), dict[int, int]()
    waiting = [(loop, 1) for loop in loops]
    while waiting:
        loop, depth = waiting.pop()
        waiting += [(inner, depth + 1) for inner in loop.inner]
        for carry in loop.carries:
            entering |= dict.fromkeys(carry.inside, depth)
            leaving[carry.result] = depth - 1
            if carry.after in carry.inside:
                unchanging |= dict.fromkeys((*carry.inside, carry.result), carry.initial)
        entering |= dict.fromkeys((part for _, part in loop.slices), depth)
        leaving |= dict.fromkeys((result for _, result in loop.stacks), depth - 1)
    return unchanging, entering, leaving
