"""Rows of an analysis: the total cost of the equations of a layer, a kind or a primitive."""

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from jds.cost._counts import Counts, Kind
from jds.cost._program import Operation, Program

By = Literal["layer", "kind", "operation", "equation"]


class CostRow(NamedTuple):
    """The total cost of a group of equations, for all their runs on all devices.

    Attributes:
      name: the layer's path, the kind or the primitive.
      kind: the kind of most multiply-accumulates or, if there are none, of most operations.
      calls: number of equation runs.
      counts: the counts; see `Counts`.
      parameters: number of elements of the parameters first used by these equations.
      parameter_bytes: size of these parameters in bytes.
      bytes_in: bytes read that were produced elsewhere, with each array counted once, excluding parameters.
      bytes_out: bytes produced here and used elsewhere.
      traffic: minimum traffic in bytes, if intermediate values never go to memory: `bytes_in`, `bytes_out`, and each
        parameter that is read.
      backward: the part of `counts` that belongs to the backward pass.
      per_device: the part of `counts` done by one device: its share of the work that `shard_map` splits, and all other
        work.
      unknown: primitives without a rule, with their numbers of runs.

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

    @property
    def is_lower_bound(self) -> bool:
        """Whether the equations include some that are not counted."""
        return bool(self.unknown)


def rows_by(by: By, program: Program) -> tuple[CostRow, ...]:
    """Groups the operations of a program into rows, in order.

    Raises:
      ValueError: `by` is none of the allowed values.
    """
    if by not in get_args(By):
        raise ValueError(f'by: must be "layer", "kind", "operation" or "equation", got {by!r}')
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for number, operation in enumerate(program.operations):
        name = f"{number} {'/'.join((*operation.path, operation.name))}"
        groups[name if by == "equation" else _KEYS[by](operation)].append(number)
    return tuple(_row(name, numbers, program) for name, numbers in groups.items())


def total_row(program: Program) -> CostRow:
    """Returns the row of a whole program, whose bytes are those of its arguments and results."""
    values = [program.values[number] for number in program.inputs]
    parameters = [value for value in values if value.parameter is not None]
    bytes_in = sum(value.bytes for value in values if value.used_by and value.parameter is None)
    bytes_out = sum(program.values[number].bytes for number in program.results)
    read = sum(value.bytes for value in parameters if value.used_by)
    return _row("total", range(len(program.operations)), program)._replace(
        parameters=sum(value.elements for value in parameters),
        parameter_bytes=sum(value.bytes for value in parameters),
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        traffic=bytes_in + bytes_out + read,
    )


def used_parameters(program: Program) -> int:
    """Counts the elements of the parameters that some equation reads."""
    return sum(program.values[parameter].elements for parameter in program.first_readers)


def kind_of(operation: Operation) -> Kind:
    """Returns the kind of the operation's rule; element-wise work in normalization layers counts as normalization."""
    if operation.cost is None:
        return "unknown"
    kind = operation.cost.kind
    in_norm = any("norm" in scope.lower() for scope in operation.path[-1:])
    return "normalization" if in_norm and kind in ("element-wise", "reduction") else kind


_KEYS: dict[str, Callable[[Operation], str]] = {
    "layer": lambda operation: "/".join(operation.path),
    "kind": kind_of,
    "operation": lambda operation: operation.name,
}


def _row(name: str, numbers: Sequence[int], program: Program) -> CostRow:
    operations, values, here = program.operations, program.values, set(numbers)
    members = [operations[number] for number in numbers]
    counts = sum((operation.counts for operation in members), Counts())
    backward = sum((operation.counts for operation in members if operation.phase == "backward"), Counts())
    per_device = sum((o.cost.counts * o.times for o in members if o.cost), Counts())
    unknown: collections.Counter[str] = collections.Counter()
    for operation in members:
        if operation.cost is None:
            unknown[operation.name] += operation.times * operation.devices
    read = {i for operation in members for i in operation.inputs if values[i].made_by not in here}
    written = [i for operation in members for i in operation.outputs]
    weights = {i for i in read if values[i].parameter is not None}
    own = _first_used(program, here)
    bytes_in = sum(values[i].bytes * values[i].times for i in read - weights)
    bytes_out = sum(
        values[i].bytes * values[i].times for i in written if any(user not in here for user in values[i].used_by)
    )
    return CostRow(
        name=name,
        kind=_main_kind(members),
        calls=sum(operation.times * operation.devices for operation in members),
        counts=counts,
        parameters=sum(values[i].elements for i in own),
        parameter_bytes=sum(values[i].bytes for i in own),
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        traffic=bytes_in + bytes_out + sum(values[i].bytes * values[i].times for i in weights),
        backward=backward,
        per_device=per_device,
        unknown=dict(unknown),
    )


def _first_used(program: Program, here: set[int]) -> Iterable[int]:
    """Returns the parameters whose first reader, possibly through derived values, is among these operations."""
    return [parameter for parameter, number in program.first_readers.items() if number in here]


def _main_kind(members: Sequence[Operation]) -> Kind:
    weights: collections.Counter[Kind] = collections.Counter()
    for operation in members:
        weights[kind_of(operation)] += operation.counts.macs
    if not any(weights.values()):
        for operation in members:
            counts = operation.counts
            weights[kind_of(operation)] += counts.flops + counts.transcendentals + counts.integer_operations
    return weights.most_common(1)[0][0] if weights else "data movement"
