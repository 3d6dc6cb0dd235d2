"""Rows of an analysis: the total cost of the equations of a layer, a kind or a primitive."""

import collections
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from jds.cost._counts import Counts, Kind
from jds.cost._grouping import OTHERS, Grouping, group_operations, main_kind
from jds.cost._program import Program
from jds.cost._traffic import Traffic
from jds.cost.fields import Field


class CostRow(NamedTuple):
    """The total cost of a group of equations, for all their runs on all devices.

    Attributes:
      name: the layer's path, the kind or the primitive.
      kind: the kind of most multiply-accumulates or, if there are none, of most operations.
      calls: number of equation runs.
      counts: the counts; see `Counts`.
      parameters: number of elements of the parameters first used by these equations.
      parameter_bytes: size of these parameters in bytes.
      bytes_in: bytes read that were produced elsewhere, with each array counted once, excluding parameters. Of an array
        that is indexed, only the selected elements count.
      bytes_out: bytes produced here and used elsewhere. Of an array that is updated, only the updates count.
      traffic: minimum traffic in bytes, if intermediate values never go to memory: `bytes_in`, `bytes_out`, and each
        parameter that is read.
      backward: the part of `counts` that belongs to the backward pass.
      per_device: the part of `counts` done by one device: its share of the work that `shard_map` splits, and all other
        work.
      unknown: primitives without a rule, with their numbers of runs.
      output: shape of the last result that is used elsewhere; None if there is none.
      receptive_field: for each spatial axis of the program's image, the number of its positions that one position of
        this result depends on; the image is the argument that the first convolution reads. Padding counts, so
        that it may exceed the image. What has no positions, such as the gate of a squeeze-and-excitation, does not
        count where it is applied. None if it is unknown, if the result does not depend on the image, and for a total.
      stride: for each of these axes, positions of the image between neighbors, a fraction after a transposed
        convolution; None if the result depends on all of the image, as after a mean over it.
      is_lower_bound: whether the equations cost more than is counted, by an unknown amount: some have no rule, or are
        in a `while` loop with an unknown number of iterations.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> found.total.flops, found.total.bytes_in, found.total.bytes_out
      (1024, 768, 128)
    """

    name: str
    kind: Kind
    calls: int
    counts: Counts
    parameters: int
    parameter_bytes: int
    bytes_in: int
    bytes_out: int
    traffic: int
    backward: Counts
    per_device: Counts
    unknown: dict[str, int]
    output: tuple[int, ...] | None
    receptive_field: tuple[int, ...] | None = None
    stride: tuple[int | Fraction | None, ...] | None = None
    is_lower_bound: bool = False

    @property
    def multiplications(self) -> int:
        """Multiplications as in textbooks; see `Counts`."""
        return self.counts.multiplications

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.counts.macs

    @property
    def flops(self) -> int:
        """Floating-point operations."""
        return self.counts.flops

    @property
    def intensity(self) -> float:
        """Floating-point operations per byte of the minimum traffic."""
        return self.flops / self.traffic if self.traffic else 0.0


class RowGroup(NamedTuple):
    """A row, and the operations that it stands for.

    Attributes:
      row: the row.
      operations: their indices.
    """

    row: CostRow
    operations: tuple[int, ...]


def rows_by(
    grouping: Grouping, program: Program, traffic: Traffic, fields: Sequence[Field | None]
) -> tuple[RowGroup, ...]:
    """Groups the operations of a program into rows; `fields` are the receptive fields of its values."""
    first_used = collections.defaultdict[int, list[int]](list)
    for parameter, number in program.first_readers.items():
        first_used[number].append(parameter)
    uncertain = program.uncertain

    def make(name: str, numbers: Sequence[int]) -> RowGroup:
        row = _row(name, numbers, program, traffic, first_used, fields)
        return RowGroup(row._replace(is_lower_bound=not uncertain.isdisjoint(numbers)), tuple(numbers))

    found = [make(*group) for group in group_operations(program, grouping.by, grouping.depth).items()]
    if grouping.sort != "program":
        found.sort(key=lambda group: _order(group.row, grouping.sort))
    if grouping.top is None or len(found) <= grouping.top:
        return tuple(found)
    others = sorted(number for group in found[grouping.top :] for number in group.operations)
    return (*found[: grouping.top], make(OTHERS, others))


def _order(row: CostRow, sort: str) -> tuple[int, str]:
    return (0, row.name) if sort == "name" else (-getattr(row, sort), "")


def total_row(program: Program, traffic: Traffic) -> CostRow:
    """Returns the row of a whole program, whose bytes are those of its arguments and results."""
    values = [(number, program.values[number]) for number in program.inputs]
    needed = traffic.needed
    parameters = [(number, value) for number, value in values if value.parameter is not None]
    bytes_in = sum(needed[number] for number, value in values if value.parameter is None)
    bytes_out = sum(traffic.written[number] for number in program.results)
    return _row("total", range(len(program.operations)), program, traffic, {}, ())._replace(
        parameters=sum(value.elements for _, value in parameters),
        parameter_bytes=sum(value.bytes for _, value in parameters),
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        traffic=bytes_in + bytes_out + sum(needed[number] for number, _ in parameters),
        output=program.values[program.results[0]].shape if program.results else None,
        is_lower_bound=bool(program.uncounted or program.unknown_trips),
    )


def used_parameters(program: Program) -> int:
    """Counts the elements of the parameters that some equation reads."""
    return sum(program.values[parameter].elements for parameter in program.first_readers)


def _row(
    name: str,
    numbers: Sequence[int],
    program: Program,
    traffic: Traffic,
    first_used: Mapping[int, Sequence[int]],
    fields: Sequence[Field | None],
) -> CostRow:
    """Returns a row; `first_used` are the parameters whose first reader, possibly through derived values, is a given
    operation, and `fields` the values' receptive fields, empty if they are not needed."""
    operations, values, here = program.operations, program.values, set(numbers)
    members = [operations[number] for number in numbers]
    counts = sum((operation.counts for operation in members), Counts())
    backward = sum((operation.counts for operation in members if operation.phase == "backward"), Counts())
    per_device = sum((o.cost.counts * o.times for o in members if o.cost), Counts())
    unknown: collections.Counter[str] = collections.Counter()
    for operation in members:
        if operation.cost is None:
            unknown[operation.name] += operation.times * operation.devices
    read: collections.Counter[int] = collections.Counter()
    for number, operation in zip(numbers, members, strict=True):
        for i in operation.inputs:
            if values[i].made_by not in here:
                read[i] += traffic.reads[number, i]
    read_bytes = {i: min(size, values[i].all_bytes) for i, size in read.items()}
    leaving = [
        i for operation in members for i in operation.outputs if any(user not in here for user in values[i].used_by)
    ]
    field = fields[leaving[-1]] if leaving and fields else None
    own = [parameter for number in numbers for parameter in first_used.get(number, ())]
    bytes_in = sum(size for i, size in read_bytes.items() if values[i].parameter is None)
    bytes_out = sum(traffic.writes[i] for i in leaving)
    return CostRow(
        name=name,
        kind=main_kind(members),
        calls=sum(operation.times * operation.devices for operation in members),
        counts=counts,
        parameters=sum(values[i].elements for i in own),
        parameter_bytes=sum(values[i].bytes for i in own),
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        traffic=bytes_out + sum(read_bytes.values()),
        backward=backward,
        per_device=per_device,
        unknown=dict(unknown),
        output=values[leaving[-1]].shape if leaving else None,
        receptive_field=field.size if field else None,
        stride=None if field is None or field.is_global else field.stride,
    )
