"""A program as a flat list of operations: their layer, how often each runs, what it reads and what it writes."""

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
    """An array of the program. An array that a loop makes in every iteration is one value, with its number of `times`.

    Attributes:
      bytes: of one copy.
      elements: of one copy.
      times: how many copies the program makes.
      made_by: the operation that makes it; None for the program's arguments and for values that enter or leave a loop.
      used_by: the operations that read it; None stands for the program's results and for the edge of a loop.
      parameter: the index of the parameter that it is, or is computed from alone; None for all others.
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
      equation: as its rule sees it.
      name: of its primitive; with the target of a foreign call or the name of a Pallas kernel.
      cost: of one run on one device; None if there is no rule.
      path: its layer.
      phase: whether it belongs to the backward pass.
      times: how often it runs.
      devices: how many devices run it, each on its own part.
      inputs, outputs: indices of values.
      is_by_one: whether it multiplies by the constant 1, as the gradient of a sum does.
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
        """The counts of all runs on all devices."""
        return self.cost.counts * (self.times * self.devices) if self.cost else Counts()


class Conditional(NamedTuple):
    """A conditional; its most expensive branch is counted.

    Attributes:
      path: its layer.
      branches: the cost of each.
      counted: the index of the branch that is counted.
    """

    path: ScopePath
    branches: tuple[Counts, ...]
    counted: int


class Conventions(NamedTuple):
    """The options of `analyze`, under their names."""

    count_padding: bool
    platform: str
    trip_counts: int | Mapping[str, int] | None


@dataclasses.dataclass
class Program:
    """Operations in order, the values between them, and what is unknown."""

    conventions: Conventions
    values: list[Value] = dataclasses.field(default_factory=list)
    operations: list[Operation] = dataclasses.field(default_factory=list)
    conditionals: list[Conditional] = dataclasses.field(default_factory=list)
    # For each parameter that is read, its first reader, through values derived from it alone.
    first_readers: dict[int, int] = dataclasses.field(default_factory=dict)
    inputs: list[int] = dataclasses.field(default_factory=list)
    # Without results that are inputs too.
    results: list[int] = dataclasses.field(default_factory=list)
    # Paths of `while` loops with unknown trip counts, which are counted as if they ran once.
    unknown_trips: list[ScopePath] = dataclasses.field(default_factory=list)

    def copy(self) -> "Program":
        """A copy to which operations can be added."""
        new = {field.name: copy.copy(getattr(self, field.name)) for field in dataclasses.fields(self)}
        new["values"] = [dataclasses.replace(value, used_by=list(value.used_by)) for value in self.values]
        return Program(**new)

    def become(self, other: "Program") -> None:
        """Replaces its content with that of another program."""
        vars(self).update(vars(other))
