"""Estimates the time of a program on a device."""

import collections
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from jds.cost._analysis import Analysis
from jds.cost._arithmetic import least_seconds, narrower_dtype, work_by_arithmetic
from jds.cost._bounds import Bound, Estimate, Limit
from jds.cost._grouping import By, Grouping
from jds.cost._measurement import Measurement
from jds.cost._rows import RowGroup
from jds.cost._run import CALL, NOT_ATTRIBUTED
from jds.cost.devices import Peak, find_device

# The row of layers of which a row has only a part.
_IN_SEVERAL = "(layers in several rows)"


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
      measured: measured times of the same program on this device, to show alongside; a row of whole layers has the
        time of these.

    Returns:
      The bound and the rows.

    Raises:
      ValueError: there is no such device.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.estimate(found, cost.Peak("made up", {"float32": 1024}, bytes=1024, source="")).total
      Bound(name='total', seconds=1.0, limit='arithmetic', measured=None)
    """
    peak = find_device(device) if isinstance(device, str) else device
    dtype = narrower_dtype(peak, analysis.dtypes)
    deployed = analysis if dtype is None else analysis.as_dtype(dtype)
    stored = deployed.conventions.dtype
    operations, groups = deployed.operations, deployed.groups(by)
    layers = [_whole_layers(analysis, group) for group in groups]
    rows = tuple(
        _bound(
            group.row.name,
            least_seconds(work_by_arithmetic((operations[i] for i in group.operations), peak, stored), peak),
            # Each of several devices reads and writes its part.
            group.row.traffic / max(operations[number].devices for number in group.operations) / peak.bytes,
            _measured(inside, measured),
        )
        for group, inside in zip(groups, layers, strict=True)
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
    shown = {layer for inside in layers for layer in inside}
    return Estimate(peak, total, rows, dtype, arithmetics, measured, tuple(_other_rows(measured, shown)))


def _other_rows(measured: Measurement | None, shown: AbstractSet[str]) -> Iterator[Bound]:
    """Yields the measured times of no row; those of layers that are parts of several rows together."""
    others = {name: time.median for name, time in (measured.layers if measured else {}).items() if name not in shown}
    alone = ("", CALL, NOT_ATTRIBUTED)
    for name in alone:
        if name in others:
            yield Bound(name, 0.0, "memory", others[name])
    rest = sum(time for name, time in others.items() if name not in alone)
    if rest:
        yield Bound(_IN_SEVERAL, 0.0, "memory", rest)


def _whole_layers(analysis: Analysis, group: RowGroup) -> list[str]:
    """Returns the layers in a row; none if it has only a part of one."""
    members = (analysis.operations[number] for number in group.operations)
    inside = collections.Counter("/".join(each.path) for each in members if each.outputs)
    is_whole = all(count == analysis.layer_sizes[layer] for layer, count in inside.items())
    return list(inside) if is_whole else []


def _measured(layers: Sequence[str], measured: Measurement | None) -> float | None:
    """Returns the time of layers; None if none of them was measured."""
    times = [measured.layers[layer].median for layer in layers if layer in measured.layers] if measured else []
    return sum(times) if times else None


def _bound(name: str, arithmetic: float, memory: float, measured: float | None) -> Bound:
    limit: Limit = "arithmetic" if arithmetic >= memory else "memory"
    return Bound(name, max(arithmetic, memory), limit, measured)
