"""A lower bound on time, from operations and bytes at a device's peak rates, along with measured times.

Roofline: Williams et al., https://doi.org/10.1145/1498765.1498785.
"""

from typing import Any, Literal, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import as_text, plain_number, plain_table
from jds.cost._deployed import DeployedDtype
from jds.cost._measurement import Measurement
from jds.cost.devices import Peak

Limit = Literal["arithmetic", "memory"]


class Bound(NamedTuple):
    """The least time of a whole program, or the time that a row would need alone.

    Attributes:
      name: as in `jds.cost.CostRow`.
      seconds: for the program, a lower bound, which holds even if intermediate values never go to memory. For a row,
        the time in which the device could do its work and read and write its arrays in memory. This is no bound for the
        row as a part of the program, where its arrays may stay on the chip.
      limit: which of the two peak rates determines the time.
      measured: the measured median time, in seconds, or None.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.estimate(found, cost.Peak("made up", {"float32": 1024}, bytes=1024, source="")).total.limit
      'arithmetic'
    """

    name: str
    seconds: float
    limit: Limit
    measured: float | None = None

    @property
    def share(self) -> float | None:
        """Ratio of this time to the measured time; for a row, above 1 if its arrays stay on the chip."""
        return self.seconds / self.measured if self.measured else None


class Estimate(NamedTuple):
    """A lower bound on the time that a program takes on a device, and the time of each row alone; prints as a table.

    Attributes:
      peak: the device's peak rates.
      total: the bound for the whole program.
      rows: the time that each row would need alone.
      dtype: what the device stores and computes the program's floating-point numbers in, if not in their own dtype.
      arithmetics: the arithmetics that the bound assumes, keys of `peak.rates`.
      measured: the measurement that was passed to `estimate`, if any.
      other_rows: measured times that belong to none of the rows; those of all rows and of these add up to the total.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> peak = cost.Peak("made up", {"float32": 1e6}, bytes=1e6, source="its maker")
      >>> print(cost.estimate(found, peak, "operation"))
      On made up
                       µs alone  limited by
      ──────────────────────────────────────
      dot_general          1024  arithmetic
      <BLANKLINE>
      total, at least      1024  arithmetic
      <BLANKLINE>
      0.001 GFLOP/s in float32, 0.001 GB/s: its maker.
    """

    peak: Peak
    total: Bound
    rows: tuple[Bound, ...]
    dtype: DeployedDtype | None = None
    arithmetics: tuple[str, ...] = ()
    measured: Measurement | None = None
    other_rows: tuple[Bound, ...] = ()

    def table(self) -> Table:
        """Returns bounds and measured times as a table, for Rich to print in 80 columns or more."""
        is_measured = self.total.measured is not None
        lines = plain_table()
        lines.title, lines.title_justify, lines.title_style = f"On {self.peak.name}", "left", "bold"
        for heading in ("", "µs alone", "limited by", *(["µs measured", "share"] if is_measured else [])):
            is_number = heading not in ("", "limited by")
            lines.add_column(heading, justify="right" if is_number else "left", overflow="fold")
        for row in self.rows:
            lines.add_row(*_cells(row, row.name or "(no layer)", is_measured))
        for row in self.other_rows:
            lines.add_row(row.name or "(no layer)", "", "", microseconds(row.measured or 0.0), "")
        lines.add_section()
        lines.add_row(*_cells(self.total, "total, at least", is_measured))
        return lines

    def notes(self) -> list[str]:
        """Explains what the bound is based on; one paragraph per string."""
        peak = self.peak
        rates = ", ".join(f"{plain_number(peak.rates[name] / 1e9, 4)} GFLOP/s in {name}" for name in self.arithmetics)
        cache = f", {plain_number(peak.cache / 2**20)} MiB of cache" if peak.cache else ""
        found = [f"{rates or 'No arithmetic'}, {plain_number(peak.bytes / 1e9, 4)} GB/s{cache}: {peak.source}."]
        if self.dtype is not None:
            found.append(f"The device does not compute in the program's dtype: the times are for {self.dtype}.")
        if self.measured is not None:
            found.append(
                "Measured: medians. Share: time alone / measured time. It exceeds 1 if arrays stay in a cache or XLA "
                "has fused a row's work into another row's instruction; a row without a time has no instruction named "
                "after it."
            )
            found += self.measured.notes()
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns peak rates, total and rows as a dictionary that `json` can write; see `jds.cost.Bound`."""
        return {
            "peak": self.peak._asdict() | {"rates": dict(self.peak.rates)},
            "dtype": self.dtype,
            "arithmetics": list(self.arithmetics),
            "total": self.total._asdict() | {"share": self.total.share},
            "rows": [row._asdict() | {"share": row.share} for row in (*self.rows, *self.other_rows)],
        }

    def __rich__(self) -> RenderableType:
        return Group(self.table(), "", *self.notes())

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def check_estimate(function: str, value: Any) -> None:
    """Raises TypeError, with the name of a function, unless its `estimate` is one, or None."""
    if not isinstance(value, Estimate | None):
        raise TypeError(f"{function}: `estimate` must be a result of `jds.cost.estimate`, got {type(value).__name__}")


def _cells(row: Bound, name: str, is_measured: bool) -> list[str]:
    cells = [name, microseconds(row.seconds), row.limit]
    if is_measured and row.measured is not None:
        cells += [microseconds(row.measured), share(row)]
    return cells


def microseconds(seconds: float) -> str:
    """Formats a time in microseconds, to four digits or in full."""
    return plain_number(seconds * 1e6, 4)


def share(row: Bound) -> str:
    """Formats the ratio of bound to measured time for tables; empty if nothing was measured."""
    if row.share is None:
        return ""
    return f"{row.share:.2f}" if row.share <= 1 else "> 1"
