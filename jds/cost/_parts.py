"""What the arrays of a program are: parameters, their gradients, activations and others."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from jds.cost._program import Program, all_loops
from jds.cost.rules import UPDATES

Part = Literal["parameters", "optimizer", "state", "inputs", "activations", "saved", "gradients"]

# The caller keeps them.
HELD: tuple[Part, ...] = ("parameters", "optimizer", "state")

_OF_ROLES: Mapping[str | None, Part] = {
    "parameter": "parameters", "optimizer": "optimizer", "state": "state", "argument": "inputs", None: "inputs",
}  # fmt: skip


class Parts(NamedTuple):
    """What the values of a program are.

    Attributes:
      of: for each value, what it is.
      replaced: the arguments that the caller keeps and whose update the program returns.
    """

    of: list[Part]
    replaced: frozenset[int]


def parts_of(program: Program) -> Parts:
    """Returns what each value is.

    What comes from an argument that the caller keeps and becomes its update is what the argument is. Gradients are all
    values of the backward pass, and after it what is computed from them or from the optimizer's state, such as the
    steps that parameters take, or only for that.
    """
    updates = _updates(program)
    found: list[Part] = []
    begins = next((i for i, each in enumerate(program.operations) if each.phase == "backward"), None)
    arguments, saved, stacks = (
        set(program.inputs),
        _read_backward(program),
        {result for loop in all_loops(program.loops) for _, result in loop.stacks},
    )
    of_updates = {number: argument for argument, path in updates.items() for number in path}
    for number, value in enumerate(program.values):
        maker = value.made_by
        if number in arguments:
            part = _OF_ROLES[value.role]
        elif number in of_updates:
            part = _OF_ROLES[program.values[of_updates[number]].role]
        elif maker is None:  # a part or a copy of another value, or a constant
            part = "activations" if value.source is None else found[value.source]
            if part in HELD or (part == "inputs" and number in stacks):
                part = "saved" if number in saved else "activations"
        else:
            operation = program.operations[maker]
            if operation.is_recomputed:
                part = "activations"
            elif operation.phase == "backward" or (
                _follows(program, number, begins)
                and any(found[i] in ("gradients", "optimizer") for i in operation.inputs)
            ):
                part = "gradients"
            else:
                part = "saved" if number in saved else "activations"
        found.append(part)
    for number in reversed(range(len(found))):
        users = program.values[number].used_by
        is_candidate = found[number] == "activations" and _follows(program, number, begins) and bool(users)
        if is_candidate and all(user is not None and _makes_gradients(program, user, found) for user in users):
            found[number] = "gradients"
    return Parts(found, frozenset(updates))


def _follows(program: Program, number: int, begins: int | None) -> bool:
    maker = program.values[number].made_by
    return begins is not None and maker is not None and maker > begins and not program.operations[maker].is_recomputed


def _makes_gradients(program: Program, number: int, parts: Sequence[Part]) -> bool:
    outputs = program.operations[number].outputs
    return bool(outputs) and all(parts[i] == "gradients" for i in outputs)


def _read_backward(program: Program) -> set[int]:
    """Returns the values that operations of the backward pass read."""
    values, found = program.values, set[int]()
    for operation in program.operations:
        if operation.phase == "backward":
            for number in operation.inputs:
                outer: int | None = number
                while outer is not None and outer not in found:
                    found.add(outer)
                    outer = values[outer].source
    return found


def _updates(program: Program) -> dict[int, set[int]]:
    """Returns, for each argument that the caller keeps and whose update is a result, the values from it to the update.

    An update is computed from the argument by element-wise operations or changes of a part of it. Where several results
    are, such as parameters that are updated by the optimizer's state, the nearest one is its update.
    """
    kept = {i for i in program.inputs if _OF_ROLES[program.values[i].role] in HELD} - set(program.passed_on)
    pairs = []
    for order, result in enumerate(program.results):
        before = _before(program, result) if kept and not _is_gradient(program, result) else {}
        pairs += [
            (distance, order, argument, before)
            for argument, (distance, _) in before.items()
            if argument in kept and program.values[argument].bytes == program.values[result].bytes
        ]
    found: dict[int, set[int]] = {}
    done = set[int]()
    for _, order, argument, before in sorted(pairs, key=lambda pair: pair[:3]):
        if argument not in found and order not in done:
            done.add(order)
            found[argument] = set(_path(before, argument))
    return found


def _is_gradient(program: Program, number: int) -> bool:
    """Whether a value is made in the backward pass, such as a gradient with a part that is in proportion to weights."""
    value = program.values[number]
    while value.made_by is None and value.source is not None:
        value = program.values[value.source]
    return value.made_by is not None and program.operations[value.made_by].phase == "backward"


def _before(program: Program, result: int) -> dict[int, tuple[int, int | None]]:
    """Returns the values that a result may be an update of, each with its distance and the value after it."""
    found: dict[int, tuple[int, int | None]] = {result: (0, None)}
    waiting = collections.deque([result])
    while waiting:
        number = waiting.popleft()
        for other in _overwritten(program, number):
            if other not in found:
                found[other] = found[number][0] + 1, number
                waiting.append(other)
    return found


def _overwritten(program: Program, number: int) -> Iterator[int]:
    """Yields the values of the same size, element by element, that a value is computed from."""
    value = program.values[number]
    if value.made_by is None:
        if value.source is not None:
            yield value.source
        return
    operation = program.operations[value.made_by]
    if operation.name in UPDATES:
        operands = operation.operands[:1]
    else:
        operands = operation.inputs if operation.is_elementwise else ()
    for operand in operands:
        if operand is not None and program.values[operand].elements == value.elements:
            yield operand


def _path(before: Mapping[int, tuple[int, int | None]], argument: int) -> Iterator[int]:
    number: int | None = argument
    while number is not None:
        yield number
        number = before[number][1]
