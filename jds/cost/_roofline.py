"""The dots of a roofline, for pages and figures, and what is to be said about those that are not there."""

import math
from typing import NamedTuple

from jds._common.text import Number, plain_number
from jds.cost._analysis import Analysis
from jds.cost._bounds import Bound, Estimate
from jds.cost._grouping import Grouping
from jds.cost._rows import CostRow


class Dot(NamedTuple):
    """A row under the roof.

    Attributes:
      row: the row, as deployed.
      rate: its measured operations per second or, if it has no measured time, what the device allows at most.
      is_measured: whether the rate is measured.
    """

    row: CostRow
    rate: Number
    is_measured: bool


class Roofline(NamedTuple):
    """The roofline of a device, with the rows of a program.

    Attributes:
      device: the device's name.
      roof: its operations per second, of the fastest arithmetic that the program uses.
      bandwidth: its bytes per second.
      dots: the rows that can be drawn.
      without_work: number of rows that cannot: those without FLOPs or without traffic.
      has_times: whether the program was measured.
    """

    device: str
    roof: Number
    bandwidth: Number
    dots: tuple[Dot, ...]
    without_work: int
    has_times: bool

    @property
    def ridge(self) -> Number:
        """The operations per byte from which on arithmetic is the limit."""
        return self.roof / self.bandwidth

    def at_most(self, intensity: Number) -> Number:
        """Returns the most operations per second at a number of operations per byte."""
        return min(self.roof, intensity * self.bandwidth)

    def labeled(self, count: int) -> list[Dot]:
        """Returns the dots with the most FLOPs, the one with the most first, and one of those in the same place."""
        apart: dict[tuple[Number, Number], Dot] = {}
        for dot in sorted(self.dots, key=lambda dot: -dot.row.flops):
            apart.setdefault((round(math.log10(dot.row.intensity), 1), round(math.log10(dot.rate), 1)), dot)
        return list(apart.values())[:count]

    @property
    def unit(self) -> tuple[str, Number]:
        """The unit of the rates, and its size."""
        return ("TFLOP/s", 1e12) if self.roof >= 1e13 else ("GFLOP/s", 1e9)

    def rate(self, rate: Number) -> str:
        """Formats a rate."""
        name, size = self.unit
        return f"{plain_number(rate / size, 4)} {name}"

    def caption(self) -> str:
        """Says what the dots are, and how many rows are not among them."""
        said = [
            f"{self.device}: {self.rate(self.roof)}, {plain_number(self.bandwidth / 1e9, 4)} GB/s. Under the slope "
            "memory is the limit, under the flat roof arithmetic."
        ]
        unmeasured = sum(not dot.is_measured for dot in self.dots)
        above = sum(dot.is_measured and dot.rate > self.at_most(dot.row.intensity) for dot in self.dots)
        if not self.has_times:
            said.append("Nothing was measured: each dot is at the most that the device allows.")
        elif unmeasured:
            said.append("Filled dots are measured; hollow ones are not, and stand at the most that the device allows.")
        left_out = f"{_rows(self.without_work)} without FLOPs {_are(self.without_work)} not shown"
        without_time = f"{_rows(unmeasured)} shown {_have(unmeasured)} no measured time"
        found = [left_out] if self.without_work else []
        found += [without_time] if unmeasured and self.has_times else []
        said += [f"{'; '.join(found)}."] if found else []
        if above:
            said.append(
                f"{_rows(above)} above the roof: arrays stay in a cache, or XLA has fused work with another row."
            )
        return " ".join(said)


def roofline(analysis: Analysis, grouping: Grouping, estimate: Estimate) -> Roofline:
    """Returns the roofline of an estimate.

    Args:
      analysis: the cost of the program.
      grouping: how to group the rows.
      estimate: their times on a device.
    """
    peak, bounds = estimate.peak, {bound.name: bound for bound in estimate.rows}
    # The times are of the program as the device stores it, and so must be the bytes.
    deployed = analysis if estimate.dtype is None else analysis.as_dtype(estimate.dtype)
    rows = deployed.by(grouping)
    dots = tuple(
        _dot(row, bounds[row.name])
        for row in rows
        if row.flops and row.traffic and row.name in bounds and bounds[row.name].seconds
    )
    roof = max(peak.rates[name] for name in estimate.arithmetics or peak.rates)
    return Roofline(
        peak.name, roof, peak.bytes, dots, len(rows) - len(dots), has_times=estimate.total.measured is not None
    )


def _dot(row: CostRow, bound: Bound) -> Dot:
    return Dot(row, row.flops / (bound.measured or bound.seconds), bool(bound.measured))


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"
