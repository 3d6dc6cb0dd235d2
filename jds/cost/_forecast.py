"""What published measurements say of the time of a network on a device."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import as_text, duration, plain_number, short_number
from jds.cost._analysis import Analysis, check_analysis
from jds.cost._arithmetic import work_by_arithmetic
from jds.cost._estimate import estimate
from jds.cost._grid import Heading, grid
from jds.cost.devices import DEVICES, MEASURED, Latency, Peak, device_key

# The estimate is made from this many networks, and from no fewer than three. Of those with more multiply-accumulates
# than this many times the program's, or as many times fewer, none is similar.
_NEAREST, _FEWEST, _FACTOR = 5, 3, 32


class Neighbor(NamedTuple):
    """A network that was measured on the device.

    Attributes:
      latency: the published measurement.
      bound: the time of its multiply-adds, with padding, and of its memory traffic at the device's peak rates, in
        seconds.
    """

    latency: Latency
    bound: float

    @property
    def ratio(self) -> float:
        """Ratio of the measured time to the bound."""
        return self.latency.seconds / self.bound


class Forecast(NamedTuple):
    """An estimate of the time of a network on a device, from published measurements; prints as a table.

    A lower bound says what a device cannot undercut. How far real programs stay above it depends on the device, the
    runtime and the network: the ratio of measured time to bound of the most similar networks gives a range, in which
    the time is likely to be, but need not be.

    Attributes:
      device: the device's name.
      bound: the lower bound, in seconds.
      low, high: the range, in seconds; None if fewer than three similar networks were measured on the device.
      neighbors: the measured networks whose multiply-accumulates and parameters are nearest, the nearest first.

    Example:
      >>> import jax
      >>> from jds import cost, create_model
      >>> model = create_model("mobilenetv3_small_100")
      >>> model.eval()
      >>> found = cost.analyze(model, jax.ShapeDtypeStruct((1, 224, 224, 3), "float32"))
      >>> time = cost.forecast(found, "snapdragon_845_core")
      >>> time.bound < time.low < time.high, time.neighbors[0].latency.network
      (True, 'v3-small_224_1.0')
    """

    device: str
    bound: float
    low: float | None
    high: float | None
    neighbors: tuple[Neighbor, ...]

    def table(self, *, width: int | None = None) -> Table:
        """Returns the most similar networks as a table, for Rich to print.

        Args:
          width: number of columns of the terminal; table columns that do not fit are left out. None for all.
        """
        sizes = [Heading("dtype", 5), Heading("mult-adds", 2), Heading("params", 4)]
        times = [Heading("ms", 0), Heading("ms at peak", 3), Heading("ratio", 1)]
        headings = [Heading("published for this device", is_number=False), *sizes, *times]
        rows = []
        for latency, bound in self.neighbors:
            counts = short_number(latency.macs), short_number(latency.parameters)
            milliseconds = plain_number(1e3 * latency.seconds), plain_number(1e3 * bound)
            rows.append([latency.network, latency.dtype, *counts, *milliseconds, f"{latency.seconds / bound:.1f}"])
        return grid(headings, rows, width=width)

    def summary(self) -> str:
        """Returns the estimate in a sentence or two."""
        least = f"On {self.device}: at least {duration(self.bound)}."
        if self.low is None or self.high is None:
            return f"{least} No estimate: fewer than {_FEWEST} similar networks have published times on it."
        ratios = [neighbor.ratio for neighbor in self.neighbors]
        return (
            f"{least} Similar networks, on one image, took {min(ratios):.1f} to {max(ratios):.1f} times as long as "
            f"their mult-adds at peak rates, so expect {duration(self.low)} to {duration(self.high)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write."""
        neighbors = [each.latency._asdict() | {"bound": each.bound, "ratio": each.ratio} for each in self.neighbors]
        return self._asdict() | {"neighbors": neighbors}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from self._parts(options.max_width)

    def _parts(self, width: int | None) -> Iterator[RenderableType]:
        yield self.summary()
        if self.neighbors:
            yield ""
            yield self.table(width=width)
            yield ""
        for source in dict.fromkeys(neighbor.latency.source for neighbor in self.neighbors):
            yield f"Measured: {source}"

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(*self._parts(None))


def forecast(analysis: Analysis, device: str) -> Forecast:
    """Returns a lower bound on the time of a network, and what published measurements say of such bounds.

    Args:
      analysis: the cost of the network in inference, for one image. After `as_dtype("int8")`, the measurements are
        those in int8.
      device: the name of a device, as in `find_device`.

    Returns:
      The bound, and a range if networks with published times on this device are known.

    Raises:
      ValueError: there is no such device.
      TypeError: `analysis` is no analysis.

    Example:
      >>> import jax
      >>> from jds import cost, create_model
      >>> model = create_model("mobilenetv1_100")
      >>> found = cost.analyze(model, jax.ShapeDtypeStruct((1, 224, 224, 3), "float32"))
      >>> cost.forecast(found, "h100").low is None
      True
    """
    check_analysis("forecast", "`analysis`", analysis)
    key = device_key(device)
    bound = estimate(analysis, device).total.seconds
    if key not in DEVICES:
        return Forecast("this machine", bound, None, None, ())
    peak = DEVICES[key]
    work = work_by_arithmetic(analysis.operations, peak, analysis.conventions.dtype)
    dtype = max(work, key=lambda name: work[name], default="float32")
    known = [
        Neighbor(row, _bound(row.macs, row.traffic, dtype, peak))
        for row in MEASURED
        if row.device == key and row.dtype == dtype and _is_similar(row, analysis)
    ]
    known.sort(key=lambda neighbor: _distance(neighbor.latency, analysis))
    nearest = tuple(known[:_NEAREST])
    if len(nearest) < _FEWEST:
        return Forecast(peak.name, bound, None, None, nearest)
    ratios = [neighbor.ratio for neighbor in nearest]
    # By the same formula: of the published networks, the element-wise work is not known.
    own = _bound(analysis.total.macs, analysis.total.traffic, dtype, peak)
    if own * max(ratios) < bound:  # most of its work is of another kind
        return Forecast(peak.name, bound, None, None, ())
    return Forecast(peak.name, bound, max(bound, own * min(ratios)), own * max(ratios), nearest)


def _is_similar(row: Latency, analysis: Analysis) -> bool:
    macs = analysis.total.macs
    is_inference = not analysis.total.backward.macs
    return is_inference and not analysis.is_lower_bound and row.macs / _FACTOR <= macs <= row.macs * _FACTOR


def _bound(macs: int, traffic: int, arithmetic: str, peak: Peak) -> float:
    return max(2 * macs / peak.rates[arithmetic], (traffic - (peak.cache or 0)) / peak.bytes)


def _distance(row: Latency, analysis: Analysis) -> float:
    """Returns how different two networks are: by the logarithms of their multiply-accumulates and parameters."""
    total = analysis.total
    pairs = (row.macs, total.macs), (row.parameters, total.parameters)
    return sum(abs(math.log(max(1, a) / max(1, b))) for a, b in pairs)
