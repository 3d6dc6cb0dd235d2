"""Estimates the time of a program on a device."""

from jds.cost._analysis import Analysis
from jds.cost._arithmetic import least_seconds, narrower_dtype, work_by_arithmetic
from jds.cost._bounds import Bound, Estimate, Limit
from jds.cost._devices import find_device
from jds.cost._measurement import Measurement
from jds.cost._peak import Peak
from jds.cost._rows import By
from jds.cost._timing import Spread


def estimate(analysis: Analysis, device: Peak | str, by: By = "layer", measured: Measurement | None = None) -> Estimate:
    """Returns a lower bound on the time of a program, and the time that each row would need alone.

    Transcendental functions and operations on integers other than products are assumed to be free, and everything else
    to run at the peak rate of its arithmetic. Arrays that fit into the device's last cache are assumed to be there. A
    device that does not compute in the program's dtypes, such as a unit for int8, gets the program in its own, as it
    would be deployed. For a program that `shard_map` splits across several devices, the bound is for one device.

    Args:
      analysis: the cost of the program.
      device: peak rates, or the name of a device, as in `find_device`.
      by: how to group the rows.
      measured: measured times of the same program on this device, to show alongside the bounds; rows have times only by
        `"layer"`.

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
    layers = measured.layers if measured and by == "layer" else {}
    operations = deployed.operations
    rows = tuple(
        _bound(
            row.name,
            least_seconds((operations[number] for number in numbers), peak, deployed.conventions.dtype),
            # Each of several devices reads and writes its part.
            row.traffic / max(operations[number].devices for number in numbers) / peak.bytes,
            layers.get(row.name),
        )
        for row, numbers in zip(deployed.by(by), deployed.groups(by).values(), strict=True)
    )
    devices = max((operation.devices for operation in operations), default=1)
    traffic = max(0, deployed.total.traffic / devices - (peak.cache or 0))
    work = work_by_arithmetic(operations, peak, deployed.conventions.dtype)
    total = _bound(
        "total",
        least_seconds(operations, peak, deployed.conventions.dtype),
        traffic / peak.bytes,
        measured.total if measured else None,
    )
    return Estimate(peak, total, rows, dtype, tuple(work), measured)


def _bound(name: str, arithmetic: float, memory: float, measured: Spread | None) -> Bound:
    limit: Limit = "arithmetic" if arithmetic >= memory else "memory"
    return Bound(name, max(arithmetic, memory), limit, measured.median if measured else None)
