"""Estimates the time of a program on a device."""

import collections
from collections.abc import Mapping, Sequence

from jds.cost._analysis import Analysis, check_analysis
from jds.cost._arithmetic import least_seconds, narrower_dtype, work_by_arithmetic
from jds.cost._bounds import Bound, Estimate, Limit
from jds.cost._grouping import By, Grouping, as_grouping
from jds.cost._measurement import Measurement
from jds.cost._rows import RowGroup
from jds.cost._run import CALL, LOOPS, NOT_ATTRIBUTED, Owner
from jds.cost.devices import Peak, find_device

# The row of what is neither of an operation nor of a layer that a row has whole.
_IN_NO_ROW = "(no single row)"
# The rows of measured time that belongs to none of the others.
_OTHERS = ("", LOOPS, CALL, NOT_ATTRIBUTED, _IN_NO_ROW)


def estimate(
    analysis: Analysis, device: Peak | str, by: By | Grouping = "layer", measured: Measurement | None = None
) -> Estimate:
    """Returns a lower bound on the time of a program, and the time that each row would need alone.

    The bound is based on `analysis.least`: what no compiler can leave out, whichever branches of conditionals run. It
    assumes that products are computed term by term, as Winograd's convolutions, for example, are not. Transcendental
    functions and operations on integers other than products are assumed to be free, and everything else to run at the
    peak rate of its arithmetic. Arrays that fit into the device's last cache are assumed to be there. A device that
    does not compute in the program's dtypes, such as a unit for int8, gets the program in its own, as it would be
    deployed. For a program that `shard_map` splits across several devices, the bound is for one device.

    Args:
      analysis: the cost of the program.
      device: peak rates, or the name of a device, as in `find_device`.
      by: how to group the rows.
      measured: measured times of the same program on this device, to show alongside. A row has the time of the
        instructions that XLA names after its operations. A loop's own time belongs to the layer that it is in or, in
        other rows than those of layers, to `"(loops)"`.

    Returns:
      The bound and the rows.

    Raises:
      ValueError: there is no such device.
      TypeError: `analysis`, `device` or `measured` is something else.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.estimate(found, cost.Peak("made up", {"float32": 1024}, bytes=1024, source="")).total
      Bound(name='total', seconds=1.0, limit='arithmetic', measured=None)
    """
    check_analysis("estimate", "`analysis`", analysis)
    if not isinstance(device, Peak | str):
        raise TypeError(
            f"estimate: `device` must be a `jds.cost.Peak` or the name of a device, got {type(device).__name__}"
        )
    if not isinstance(measured, Measurement | None):
        raise TypeError(
            f"estimate: `measured` must be a result of `jds.cost.measure_program`, got {type(measured).__name__}"
        )
    peak = find_device(device) if isinstance(device, str) else device
    dtype = narrower_dtype(peak, analysis.dtypes)
    deployed = analysis if dtype is None else analysis.as_dtype(dtype)
    stored = deployed.conventions.dtype
    operations, groups = deployed.operations, deployed.groups(by)
    times, others = _measured(analysis, groups, measured, is_by_layer=as_grouping(by).by == "layer")
    rows = tuple(
        _bound(
            group.row.name,
            least_seconds(work_by_arithmetic((operations[i] for i in group.operations), peak, stored), peak),
            # Each of several devices reads and writes its part.
            group.row.traffic / max(operations[number].devices for number in group.operations) / peak.bytes,
            times.get(place),
        )
        for place, group in enumerate(groups)
    )
    devices = max((operation.devices for operation in operations), default=1)
    least = deployed.least
    traffic = max(0.0, least.bytes / devices - (peak.cache or 0))
    total = _bound(
        "total",
        least_seconds(least.work.by_arithmetic(peak, stored), peak),
        traffic / peak.bytes,
        measured and measured.total.median,
    )
    arithmetics = tuple(work_by_arithmetic(operations, peak, stored))
    other_rows = tuple(Bound(name, 0.0, "memory", others[name]) for name in _OTHERS if name in others)
    return Estimate(peak, total, rows, dtype, arithmetics, measured, other_rows)


def _measured(
    analysis: Analysis, groups: Sequence[RowGroup], measured: Measurement | None, *, is_by_layer: bool
) -> tuple[Mapping[int, float], Mapping[str, float]]:
    """Returns the measured times of rows, by their places, and those of no row, by their names."""
    times, others = collections.defaultdict[int, float](float), collections.defaultdict[str, float](float)
    if measured is None:
        return times, others
    with_operation = {number: place for place, group in enumerate(groups) for number in group.operations}
    with_layer = {layer: place for place, group in enumerate(groups) for layer in _whole_layers(analysis, group)}
    layers = ((Owner(name), time.median) for name, time in measured.layers.items())
    for owner, seconds in measured.parts or layers:
        number = _operation(owner, analysis)
        places = [] if number is None else [with_operation.get(number)]
        if is_by_layer or not owner.is_loop:
            places.insert(0 if is_by_layer else len(places), with_layer.get(owner.layer))
        place = next((place for place in places if place is not None), None)
        if place is not None:
            times[place] += seconds
        elif owner.layer in _OTHERS:
            others[owner.layer] += seconds
        else:
            others[LOOPS if owner.is_loop else _IN_NO_ROW] += seconds
    return times, others


def _operation(owner: Owner, analysis: Analysis) -> int | None:
    """Returns the operation that a time belongs to, if it is one of the analysis: it may be of another program."""
    if owner.operation is None or owner.operation >= len(analysis.operations):
        return None
    # A branch that is not counted is one operation, with the layers inside.
    path = analysis.operations[owner.operation].path
    return owner.operation if tuple(owner.layer.split("/"))[: len(path)] == path else None


def _whole_layers(analysis: Analysis, group: RowGroup) -> list[str]:
    """Returns the layers in a row; none if it has only a part of one."""
    members = (analysis.operations[number] for number in group.operations)
    inside = collections.Counter("/".join(each.path) for each in members if each.outputs)
    is_whole = all(count == analysis.layer_sizes[layer] for layer, count in inside.items())
    return list(inside) if is_whole else []


def _bound(name: str, arithmetic: float, memory: float, measured: float | None) -> Bound:
    limit: Limit = "arithmetic" if arithmetic >= memory else "memory"
    return Bound(name, max(arithmetic, memory), limit, measured)
