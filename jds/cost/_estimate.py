"""Estimates the time of a program on a device."""

import collections

from jds.cost._analysis import Analysis
from jds.cost._arithmetic import least_seconds, narrower_dtype, work_by_arithmetic
from jds.cost._bounds import Bound, Estimate, Limit
from jds.cost._devices import find_device
from jds.cost._grouping import By, Grouping
from jds.cost._measurement import Measurement
from jds.cost._peak import Peak
from jds.cost._rows import RowGroup


def estimate(
    analysis: Analysis, device: Peak | str, by: By | Grouping = "layer", measured: Measurement | None = None
) -> Estimate:
    """Returns a lower bound on the time of a program, and the time that each row would need alone.

    Transcendental functions and operations on integers other than products are assumed to be free, and everything else
    to run at the peak rate of its arithmetic. Arrays that fit into the device's last cache are assumed to be there. A
    device that does not compute in the program's dtypes, such as a unit for int8, gets the program in its own, as it
    would be deployed. For a program that `shard_map` splits across several devices, the bound is for one device.

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
    operations = deployed.operations
    rows = tuple(
        _bound(
            group.row.name,
            least_seconds((operations[number] for number in group.operations), peak, stored),
            # Each of several devices reads and writes its part.
            group.row.traffic / max(operations[number].devices for number in group.operations) / peak.bytes,
            _measured(analysis, group, measured),
        )
        for group in deployed.groups(by)
    )
    devices = max((operation.devices for operation in operations), default=1)
    traffic = max(0.0, deployed.total.traffic / devices - (peak.cache or 0))
    total = _bound(
        "total", least_seconds(operations, peak, stored), traffic / peak.bytes, measured and measured.total.median
    )
    return Estimate(peak, total, rows, dtype, tuple(work_by_arithmetic(operations, peak, stored)), measured)


def _measured(analysis: Analysis, group: RowGroup, measured: Measurement | None) -> float | None:
    """Returns the time of the layers in a row; None if it has only a part of a layer, or none was measured."""
    if measured is None:
        return None
    inside = collections.Counter("/".join(analysis.operations[number].path) for number in group.operations)
    times = [measured.layers[layer].median for layer in inside if layer in measured.layers]
    is_whole = all(count == analysis.layer_sizes[layer] for layer, count in inside.items())
    return sum(times) if times and is_whole else None


def _bound(name: str, arithmetic: float, memory: float, measured: float | None) -> Bound:
    limit: Limit = "arithmetic" if arithmetic >= memory else "memory"
    return Bound(name, max(arithmetic, memory), limit, measured)
