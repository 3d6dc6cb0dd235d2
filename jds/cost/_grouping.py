"""How the operations of a program are grouped into rows, in which order, and how many are shown."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from jds.cost._counts import Kind
from jds.cost._fusion import Group, fused_groups
from jds.cost._program import Operation, Program

By = Literal["layer", "fused", "kind", "operation", "equation"]
Sort = Literal["program", "name", "macs", "flops", "parameters", "bytes_in", "bytes_out", "traffic"]
# The row of those that are not shown.
OTHERS = "(others)"


class Grouping(NamedTuple):
    """How to group operations into rows.

    Attributes:
      by: `"layer"`; `"fused"`, which is as a device runs them: a convolution with its normalization and activation;
        `"kind"`; `"operation"`, the primitive; or `"equation"`.
      depth: for layers, the number of names of their paths to tell apart; None for all.
      sort: `"program"` for the program's order, `"name"`, or the field of `jds.cost.CostRow` of which the rows with the
        most come first.
      top: number of rows to show; the others are one row. None for all.

    Example:
      >>> import jax
      >>> from jds import cost, create_model
      >>> found = cost.analyze(create_model("mobilenetv1_100"), jax.ShapeDtypeStruct((1, 224, 224, 3), "float32"))
      >>> [(row.name, row.macs) for row in found.by(cost.Grouping("layer", depth=1, sort="macs", top=1))]
      [('stages', 556878336), ('(others)', 11862016)]
    """

    by: By = "layer"
    depth: int | None = None
    sort: Sort = "program"
    top: int | None = None


def as_grouping(by: By | Grouping) -> Grouping:
    """Returns a grouping with checked fields.

    Raises:
      ValueError: a field is wrong.
    """
    found = by if isinstance(by, Grouping) else Grouping(by)
    for name, allowed in (("by", get_args(By)), ("sort", get_args(Sort))):
        if getattr(found, name) not in allowed:
            words = ", ".join(f'"{value}"' for value in allowed[:-1]) + f' or "{allowed[-1]}"'
            raise ValueError(f"{name}: must be {words}, got {getattr(found, name)!r}")
    for name in ("depth", "top"):
        value = getattr(found, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}: must be a positive number, or None for all, got {value!r}")
    if found.depth is not None and found.by not in ("layer", "fused"):
        raise ValueError(f'depth: is for rows by "layer" or "fused", got "{found.by}"')
    return found


def group_operations(program: Program, by: By, depth: int | None = None) -> dict[str, list[int]]:
    """Groups the operations of a program, in order; returns their indices by the rows' names."""
    if by == "fused":
        return _fused(program, depth)
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for number, operation in enumerate(program.operations):
        groups[_KEYS[by](number, operation, depth)].append(number)
    return dict(groups)


def _fused(program: Program, depth: int | None) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for group in fused_groups(program):
        groups[_name_of_group(program, group, depth)] += group.members
    return dict(groups)


def _name_of_group(program: Program, group: Group, depth: int | None) -> str:
    """Returns the layer of a product; otherwise also the primitive, as most layers are a product and other groups."""
    anchor = program.operations[group.anchor]
    path = anchor.path[:depth]
    is_product = anchor.cost is not None and anchor.cost.counts.macs > 0
    return "/".join(path if is_product or depth is not None else (*path, anchor.name))


_KEYS: Mapping[By, Callable[[int, Operation, int | None], str]] = {
    "layer": lambda number, operation, depth: "/".join(operation.path[:depth]),
    "kind": lambda number, operation, depth: kind_of(operation),
    "operation": lambda number, operation, depth: operation.name,
    "equation": lambda number, operation, depth: f"{number} {'/'.join((*operation.path, operation.name))}",
}


def kind_of(operation: Operation) -> Kind:
    """Returns the kind of the operation's rule; element-wise work in normalization layers counts as normalization."""
    if operation.cost is None:
        return "unknown"
    kind = operation.cost.kind
    in_norm = any("norm" in scope.lower() for scope in operation.path[-1:])
    return "normalization" if in_norm and kind in ("element-wise", "reduction") else kind


def main_kind(members: Sequence[Operation]) -> Kind:
    """Returns the kind of most multiply-accumulates or, if there are none, of most operations."""
    weights: collections.Counter[Kind] = collections.Counter()
    for operation in members:
        weights[kind_of(operation)] += operation.counts.macs
    if not any(weights.values()):
        for operation in members:
            counts = operation.counts
            weights[kind_of(operation)] += counts.flops + counts.transcendentals + counts.integer_operations
    return weights.most_common(1)[0][0] if weights else "data movement"
