"""The bytes that operations must read and write: of an array that is indexed, only what is touched."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from jds.cost._program import Operation, Program, Value
from jds.cost.rules import ELEMENTWISE, UPDATES


class Traffic(NamedTuple):
    """The least traffic of each operation, in bytes, over all its runs on all devices.

    Attributes:
      reads: for an operation and a value that it reads: bytes of the value.
      needed: for each value: bytes of it that its readers read.
      writes: for a value: bytes that the operation that makes it writes.
      written: for a value: bytes of it that are not already in memory, in an argument that is updated in place.
    """

    reads: Mapping[tuple[int, int], int]
    needed: Sequence[int]
    writes: Mapping[int, int]
    written: Mapping[int, int]


# Results with a part of the operand, or with its elements in another order: of the operand, no more is read than of the
# result.
_PARTS = frozenset(["slice", "transpose", "rev", "convert_element_type", "real", "imag", "split", "unstack"])
# Others of which each element of the result needs one of the operand at most.
_BY_ELEMENT = frozenset([*ELEMENTWISE, "pad", "concatenate", "broadcast_in_dim"])
# Results with elements of the first operand, selected by indices.
_SELECTIONS = frozenset(["gather", "dynamic_slice"])


def least_traffic(program: Program) -> Traffic:
    """Returns the least traffic of each operation, if each array that is updated is updated in place."""
    values = program.values
    writes: dict[int, int] = {}
    for operation in program.operations:
        for number in operation.outputs:
            writes[number] = values[number].all_bytes
        if operation.name in UPDATES and operation.outputs:
            (out,) = operation.outputs
            writes[out] = min(values[out].all_bytes, _bytes_of_updates(program, operation))
    return Traffic(*_reads(program), writes, _written(program, writes))


def _reads(program: Program) -> tuple[dict[tuple[int, int], int], list[int]]:
    values, operations = program.values, program.operations
    needed = [0] * len(values)  # bytes of each value that its readers read
    reads: dict[tuple[int, int], int] = {}
    # An operation's results come after its operands: in reverse order, the readers of a value are done before it.
    for number in reversed(range(len(values))):
        value = values[number]
        needed[number] = min(needed[number], value.all_bytes)
        if value.source is not None:
            outer = values[value.source]
            # All slices together are the array, which each run of the loop reads again, as each iteration reads again
            # what does not change; a value that is handed on is read by the first iteration.
            share = needed[number] * outer.all_bytes // max(1, value.all_bytes)
            needed[value.source] += min(outer.all_bytes, share)
        elif value.made_by is not None and operations[value.made_by].outputs[0] == number:
            operation = operations[value.made_by]
            if None in value.used_by and operation.name not in UPDATES:  # a result, or handed on by a loop
                needed[number] = value.all_bytes
            for place, operand in enumerate(operation.operands):
                if operand is not None:
                    read = _read(program, operation, place, values[operand], needed)
                    key = value.made_by, operand
                    reads[key] = min(values[operand].all_bytes, reads.get(key, 0) + read)
                    needs = _needed(program, operation, place, values[operand], needed)
                    needed[operand] += read if needs is None else needs
    for number, operation in enumerate(operations):
        if not operation.outputs:
            whole = 0 if operation.name == "cond" else 1
            reads |= {(number, operand): whole * values[operand].all_bytes for operand in operation.inputs}
    return reads, needed


def _read(program: Program, operation: Operation, place: int, operand: Value, needed: Sequence[int]) -> int:
    """Returns the bytes that an operation reads of the operand at this place."""
    if operation.name == "cond":  # the operations of the branch that is counted read them
        return 0
    name, (first, *_) = operation.name, operation.outputs
    result = program.values[first]
    if name in _PARTS:
        return _as_many(program, operation, operand, needed)
    if place == 0 and name in _SELECTIONS:
        return min(operand.all_bytes, result.all_bytes)
    if place == 0 and name in UPDATES:
        # Its other elements are read by those who read them in the result.
        changed = 0 if name in ("dynamic_update_slice", "scatter") else _bytes_of_updates(program, operation)
        return min(operand.all_bytes, needed[first] + changed)
    return operand.all_bytes


def _needed(program: Program, operation: Operation, place: int, operand: Value, needed: Sequence[int]) -> int | None:
    """Returns the bytes of an operand that the readers of the result need; None if it is what the operation reads."""
    result = program.values[operation.outputs[0]]
    if operation.name in UPDATES and place == 0:
        maker = operand.made_by
        is_computed = maker is not None and program.operations[maker].name not in UPDATES
        return operand.all_bytes if is_computed else None  # before a part of it is changed
    if operation.name not in _BY_ELEMENT:
        return None
    found = _as_many(program, operation, operand, needed)
    return found * operand.elements // max(1, result.elements) if operation.name == "concatenate" else found


def _as_many(program: Program, operation: Operation, operand: Value, needed: Sequence[int]) -> int:
    """Returns the bytes of as many elements as are needed of the results."""
    result = program.values[operation.outputs[0]]
    if not result.bytes or not operand.elements:
        return operand.all_bytes
    itemsizes = Fraction(operand.bytes * result.elements, operand.elements * result.bytes)
    return min(operand.all_bytes, int(sum(needed[out] for out in operation.outputs) * itemsizes))


def _bytes_of_updates(program: Program, operation: Operation) -> int:
    place = UPDATES[operation.name]
    number = operation.operands[place]
    literal = operation.equation.inputs[place]
    one = int(literal.dtype.itemsize) if number is None else program.values[number].bytes
    return one * operation.times * operation.devices


def _written(program: Program, writes: Mapping[int, int]) -> dict[int, int]:
    values, operations, found = program.values, program.operations, dict[int, int]()
    arguments = set(program.inputs)
    for number, value in enumerate(values):
        if number in arguments:
            found[number] = 0
        elif value.source is not None:
            found[number] = min(value.all_bytes, found[value.source])
        elif value.made_by is None:
            found[number] = value.all_bytes
        else:
            operation = operations[value.made_by]
            target = operation.operands[0] if operation.name in UPDATES else None
            # An array that was computed is written as a whole, an argument where it is changed.
            rest = value.all_bytes if target is None else found[target]
            found[number] = min(value.all_bytes, writes[number] + rest)
    return found
