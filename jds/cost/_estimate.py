"""Estimates the time of a program on a device."""

from jds.cost._analysis import Analysis
from jds.cost._bounds import Bound, Estimate, Limit
from jds.cost._devices import Peak, find_device
from jds.cost._profile import Measurement
from jds.cost._rows import By, CostRow
from jds.cost._timing import Spread


def estimate(analysis: Analysis, device: Peak | str, by: By = "layer", measured: Measurement | None = None) -> Estimate:
    """Returns lower bounds on the time of a program, as a whole and row by row.

    Transcendental functions and integer operations are assumed to be free, and everything else to run at peak rate. For
    a program that `shard_map` splits across several devices, the bound is for one device.

    Args:
      analysis: the cost of the program.
      device: peak rates, or the name of a device, as in `find_device`.
      by: how to group the rows.
      measured: measured times of the same program on this device, to show alongside the bounds; rows have times only by
        `"layer"`.

    Returns:
      The bounds.

    Raises:
      ValueError: there is no such device.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.estimate(found, cost.Peak("made up", flops=1024, bytes=1024, source="")).total
      Bound(name='total', seconds=1.0, limit='arithmetic', measured=None)
    """
    peak = find_device(device) if isinstance(device, str) else device
    layers = measured.layers if measured and by == "layer" else {}
    rows = tuple(_bound(row, peak, layers.get(row.name)) for row in analysis.by(by))
    # Each of several devices holds only its part of the arguments and results.
    devices = max((operation.devices for operation in analysis.operations), default=1)
    total = analysis.total._replace(traffic=analysis.total.traffic // devices)
    return Estimate(peak, _bound(total, peak, measured.total if measured else None), rows)


def _bound(row: CostRow, peak: Peak, measured: Spread | None) -> Bound:
    arithmetic, memory = row.per_device.flops / peak.flops, row.traffic / peak.bytes
    limit: Limit = "arithmetic" if arithmetic >= memory else "memory"
    return Bound(row.name, max(arithmetic, memory), limit, measured.median if measured else None)
