"""A program as a flat list of operations, each with its layer, its number of runs, its inputs and its outputs."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from jds._common.traceable import Role
from jds.cost._counts import Counts
from jds.cost.rules import Cost, Equation

ScopePath = tuple[str, ...]
Phase = Literal["forward", "backward"]


@dataclasses.dataclass
class Value:
    """An array of the program. An array produced in every iteration of a loop is one value, with its number of `times`.

    Attributes:
      shape: sizes of one copy.
      dtype: its dtype; None for tokens and other values without one.
      bytes: size of one copy in bytes.
      times: number of copies that the program produces, on all devices.
      made_by: the operation that produces it; None for the program's arguments and for values that enter or leave a
        loop.
      source: the value that it is, or is a part of, on the other side of a loop's boundary; None for all others.
      used_by: the operations that read it; None stands for the program's results and for a loop boundary.
      parameter: index of the parameter that it is, or that it is computed from alone; None for all others.
      is_one: whether all its elements are the constant 1.
      role: for an argument or a constant, what it is for; None for all others.
    """

    shape: tuple[int, ...]
    dtype: Any
    bytes: int
    times: int = 1
    made_by: int | None = None
    source: int | None = None
    used_by: list[int | None] = dataclasses.field(default_factory=list)
    parameter: int | None = None
    is_one: bool = False
    role: Role | None = None

    @property
    def elements(self) -> int:
        """Number of elements of one copy."""
        elements = 1
        for size in self.shape:
            elements *= size
        return elements

    @property
    def all_bytes(self) -> int:
        """Size of all copies in bytes."""
        return self.bytes * self.times


class Operation(NamedTuple):
    """An equation that does work.

    Attributes:
      equation: the equation, in the form that rules receive.
      name: name of its primitive, with the target of a foreign call or the name of a Pallas kernel.
      cost: cost of one run on one device; None if there is no rule.
      path: path of its layer.
      phase: whether it belongs to the forward or the backward pass.
      times: number of runs.
      devices: number of devices that run it, each on its own part.
      operands: the values of its operands, in order; None for a literal.
      literals: for each operand, its number if it is a literal; None for all others. Empty if there are none.
      outputs: the values that it produces; none if its result is its operand under another shape.
      is_elementwise: whether each element of its result depends on one element of each operand, so that the result may
        replace an operand.
      is_by_one: whether it multiplies by the constant 1, as in the gradient of a sum.
      is_recomputed: whether it computes a part of the forward pass again for the backward pass, to which it belongs.
    """

    equation: Equation
    name: str
    cost: Cost | None
    path: ScopePath
    phase: Phase = "forward"
    times: int = 1
    devices: int = 1
    operands: tuple[int | None, ...] = ()
    literals: tuple[Any, ...] = ()
    outputs: tuple[int, ...] = ()
    is_elementwise: bool = False
    is_by_one: bool = False
    is_recomputed: bool = False

    @property
    def inputs(self) -> tuple[int, ...]:
        """The values that it reads, each once."""
        return tuple(dict.fromkeys(number for number in self.operands if number is not None))

    @property
    def counts(self) -> Counts:
        """The counts for all runs on all devices."""
        return self.cost.counts * (self.times * self.devices) if self.cost else Counts()


class Conditional(NamedTuple):
    """A conditional. The most expensive branch is counted; what cannot be counted in the others is, too, as unknown.

    Attributes:
      path: path of its layer.
      branches: the cost of each branch.
      are_lower_bounds: for each branch, whether it costs more than is counted.
      counted: index of the branch that is counted.
    """

    path: ScopePath
    branches: tuple[Counts, ...]
    are_lower_bounds: tuple[bool, ...]
    counted: int


class Carry(NamedTuple):
    """A value that a loop hands from one iteration to the next.

    Attributes:
      initial: its value before the loop; None for a literal.
      inside: its values in the condition and the body.
      after: its value at the end of an iteration; None for a literal.
      result: its value after the loop.
    """

    initial: int | None
    inside: tuple[int, ...]
    after: int | None
    result: int


class Loop(NamedTuple):
    """A loop over operations.

    Attributes:
      start, end: its operations are those from `start` to before `end`.
      trips: number of iterations; None if unknown.
      carries: the values that are handed on.
      slices: for each array that is sliced along its first axis: the array, and its part in one iteration.
      stacks: for each result that is stacked: its part in one iteration, and the result.
      inner: the loops directly in it, in order.
    """

    start: int
    end: int
    trips: int | None
    carries: tuple[Carry, ...] = ()
    slices: tuple[tuple[int | None, int], ...] = ()
    stacks: tuple[tuple[int | None, int], ...] = ()
    inner: tuple["Loop", ...] = ()


def all_loops(loops: Sequence[Loop]) -> Iterator[Loop]:
    """Yields these loops and all in them."""
    for loop in loops:
        yield loop
        yield from all_loops(loop.inner)


def loops_around(program: "Program") -> list[tuple[Loop, ...]]:
    """Returns, for each operation, the loops around it, the outermost first."""
    found: list[tuple[Loop, ...]] = [()] * len(program.operations)

    def visit(loop: Loop, outer: tuple[Loop, ...]) -> None:
        around = (*outer, loop)
        found[loop.start : loop.end] = [around] * (loop.end - loop.start)
        for inner in loop.inner:
            visit(inner, around)

    for loop in program.loops:
        visit(loop, ())
    return found


class Branches(NamedTuple):
    """The branches of a conditional that are not counted.

    Attributes:
      programs: the branches.
      end: the counted branch's operations are those before `end`, from the one that stands for the others.
      copies: the results that are operands in the counted branch, but not in all others.
      counted: the counted branch by itself; None if none is, and the operation stands for all branches.
      outputs: the values of its results; None for a literal.
    """

    programs: tuple["Program", ...]
    end: int
    copies: tuple[int, ...] = ()
    counted: "Program | None" = None
    outputs: tuple[int | None, ...] = ()


class Conventions(NamedTuple):
    """The options of `analyze`, under the same names, and `dtype`, that of `Analysis.as_dtype`."""

    count_padding: bool
    platform: str
    trip_counts: int | Mapping[str, int] | None
    dtype: str | None = None


def check_count_padding(function: str, value: bool) -> None:
    """Raises ValueError, with the name of a function, unless this is its option `count_padding`."""
    if not isinstance(value, bool):
        raise ValueError(f"{function}: `count_padding` must be True or False, got {value!r}")


@dataclasses.dataclass
class Program:
    """Operations in order, the values between them, and the unknowns."""

    conventions: Conventions
    values: list[Value] = dataclasses.field(default_factory=list)
    operations: list[Operation] = dataclasses.field(default_factory=list)
    # The outermost loops, in order.
    loops: list[Loop] = dataclasses.field(default_factory=list)
    conditionals: list[Conditional] = dataclasses.field(default_factory=list)
    # For an operation that stands for a conditional, the branches that are not counted.
    other_branches: dict[int, Branches] = dataclasses.field(default_factory=dict)
    # For a value that enters `shard_map`, each time: the value that one device has inside.
    shards: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    # For each parameter that is read, its first reader, through values derived from it alone.
    first_readers: dict[int, int] = dataclasses.field(default_factory=dict)
    inputs: list[int] = dataclasses.field(default_factory=list)
    # Excluding results that are also inputs.
    results: list[int] = dataclasses.field(default_factory=list)
    # The inputs that are results.
    passed_on: list[int] = dataclasses.field(default_factory=list)
    # Paths of all `while` loops, and of those with unknown trip counts, which are counted as one iteration.
    while_loops: list[ScopePath] = dataclasses.field(default_factory=list)
    unknown_trips: list[ScopePath] = dataclasses.field(default_factory=list)
    # Whether it was read from an exported file, whose operations are not JAX's.
    is_file: bool = False

    @property
    def counts(self) -> Counts:
        """The counts of all operations."""
        return sum((operation.counts for operation in self.operations), Counts())

    @property
    def uncounted(self) -> list[Operation]:
        """The operations without a cost."""
        return [operation for operation in self.operations if operation.cost is None]

    @property
    def conditional_around(self) -> dict[int, int]:
        """For each operation of a counted branch, the operation that stands for the other branches."""
        return {
            place: number
            for number, branches in self.other_branches.items()
            for place in range(number + 1, branches.end)
        }

    @property
    def uncertain(self) -> set[int]:
        """Indices of the operations that cost more than is counted, by an unknown amount."""
        found = {number for number, operation in enumerate(self.operations) if operation.cost is None}
        for number, branches in self.other_branches.items():
            if any(program.unknown_trips for program in branches.programs):
                found.add(number)
        for loop in all_loops(self.loops):
            if loop.trips is None:
                found.update(range(loop.start, loop.end))
        return found
