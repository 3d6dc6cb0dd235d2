"""Estimates the time of a program on a device."""

from jds.cost._analysis import Analysis
from jds.cost._bounds import Bound, Estimate, Limit
from jds.cost._devices import Peak, find_device
from jds.cost._profile import Measurement
from jds.cost._rows import By, CostRow
from jds.cost._timing import Spread


def estimate(analysis: Analysis, device: Peak | str, by: By = "layer", measured: Measurement | None = None) -> Estimate:
    """Bounds the time of a program from below, as a whole and row by row.

    Transcendental functions and integer operations cost nothing here; everything else runs at its peak rate.
    For a program that `shard_map` divides among several devices, the bound is that of one device.

    Args:
      analysis: what the program costs.
      device: its peak rates, or its name, as for `find_device`.
      by: what a row is.
      measured: the time that the same program takes on this device, to show beside the bounds; rows have one by
        `"layer"` only.

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
    # Each of several devices holds its part of the arguments and results.
    devices = max((operation.devices for operation in analysis.operations), default=1)
    total = analysis.total._replace(traffic=analysis.total.traffic // devices)
    return Estimate(peak, _bound(total, peak, measured.total if measured else None), rows)


def _bound(row: CostRow, peak: Peak, measured: Spread | None) -> Bound:
    arithmetic, memory = row.per_device.flops / peak.flops, row.traffic / peak.bytes
    limit: Limit = "arithmetic" if arithmetic >= memory else "memory"
    return Bound(row.name, max(arithmetic, memory), limit, measured.median if measured else None)
