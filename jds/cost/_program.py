"""A program as a flat list of operations, each with its layer, its number of runs, its inputs and its outputs."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

from jds.cost._counts import Counts
from jds.cost.rules import Cost, Equation

ScopePath = tuple[str, ...]
Phase = Literal["forward", "backward"]


@dataclasses.dataclass
class Value:
    """An array of the program. An array produced in every iteration of a loop is one value, with its number of `times`.

    Attributes:
      bytes: size of one copy in bytes.
      elements: number of elements of one copy.
      times: number of copies that the program produces.
      made_by: the operation that produces it; None for the program's arguments and for values that enter or leave a
        loop.
      used_by: the operations that read it; None stands for the program's results and for a loop boundary.
      parameter: index of the parameter that it is, or that it is computed from alone; None for all others.
      is_one: whether all its elements are the constant 1.
    """

    bytes: int
    elements: int
    times: int = 1
    made_by: int | None = None
    used_by: list[int | None] = dataclasses.field(default_factory=list)
    parameter: int | None = None
    is_one: bool = False


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
      inputs, outputs: indices of values.
      is_by_one: whether it multiplies by the constant 1, as in the gradient of a sum.
    """

    equation: Equation
    name: str
    cost: Cost | None
    path: ScopePath
    phase: Phase
    times: int
    devices: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    is_by_one: bool = False

    @property
    def counts(self) -> Counts:
        """The counts for all runs on all devices."""
        return self.cost.counts * (self.times * self.devices) if self.cost else Counts()


class Conditional(NamedTuple):
    """A conditional; its most expensive branch is counted.

    Attributes:
      path: path of its layer.
      branches: the cost of each branch.
      counted: index of the branch that is counted.
    """

    path: ScopePath
    branches: tuple[Counts, ...]
    counted: int


class Conventions(NamedTuple):
    """The options of `analyze`, under the same names."""

    count_padding: bool
    platform: str
    trip_counts: int | Mapping[str, int] | None


@dataclasses.dataclass
class Program:
    """Operations in order, the values between them, and the unknowns."""

    conventions: Conventions
    values: list[Value] = dataclasses.field(default_factory=list)
    operations: list[Operation] = dataclasses.field(default_factory=list)
    conditionals: list[Conditional] = dataclasses.field(default_factory=list)
    # For each parameter that is read, its first reader, through values derived from it alone.
    first_readers: dict[int, int] = dataclasses.field(default_factory=dict)
    inputs: list[int] = dataclasses.field(default_factory=list)
    # Excluding results that are also inputs.
    results: list[int] = dataclasses.field(default_factory=list)
    # Paths of `while` loops with unknown trip counts, which are counted as one iteration.
    unknown_trips: list[ScopePath] = dataclasses.field(default_factory=list)

    def copy(self) -> "Program":
        """Returns a copy that operations can be added to."""
        new = {field.name: copy.copy(getattr(self, field.name)) for field in dataclasses.fields(self)}
        new["values"] = [dataclasses.replace(value, used_by=list(value.used_by)) for value in self.values]
        return Program(**new)

    def become(self, other: "Program") -> None:
        """Replaces the contents with those of another program."""
        vars(self).update(vars(other))
