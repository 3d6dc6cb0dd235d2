"""Lower bounds on time, from operations and bytes at a device's peak rates, along with measured times.

Roofline: Williams et al., https://doi.org/10.1145/1498765.1498785.
"""

from typing import Any, Literal, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.text import as_text
from jds.cost._devices import Peak

Limit = Literal["arithmetic", "memory"]


class Bound(NamedTuple):
    """The lower bound on the time of a layer, or of a whole program.

    Attributes:
      name: as in `jds.cost.CostRow`.
      seconds: the bound, which holds even if intermediate values never go to memory.
      limit: which of the two peak rates determines the bound.
      measured: the measured median time, in seconds, or None.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.estimate(found, cost.Peak("made up", flops=1024, bytes=1024, source="")).total.limit
      'arithmetic'
    """

    name: str
    seconds: float
    limit: Limit
    measured: float | None = None

    @property
    def share(self) -> float | None:
        """Ratio of bound to measured time; above 1 if arrays stay in a cache or another layer does part of the work."""
        return self.seconds / self.measured if self.measured else None


class Estimate(NamedTuple):
    """Lower bounds on the time that a program takes on a device; prints as a table.

    Attributes:
      peak: the device's peak rates.
      total: bound for the whole program, with all intermediate values on the chip.
      rows: bounds for the individual rows; a layer whose inputs stay on the chip may take less time.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> peak = cost.Peak("made up", flops=1e6, bytes=1e6, source="its maker")
      >>> print(cost.estimate(found, peak, "operation"))
      Lower bound on made up
                                        min µs  bound by
      ─────────────────────────────────────────────────────
      dot_general                         1024  arithmetic
      <BLANKLINE>
      total, intermediates on the chip    1024  arithmetic
      <BLANKLINE>
      0.001 GFLOP/s, 0.001 GB/s: its maker.
    """

    peak: Peak
    total: Bound
    rows: tuple[Bound, ...]

    def table(self) -> Table:
        """Returns bounds and measured times as a table, for Rich to print in 80 columns or more."""
        is_measured = self.total.measured is not None
        lines = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0))
        lines.title, lines.title_justify, lines.title_style = f"Lower bound on {self.peak.name}", "left", "bold"
        for heading in ("", "min µs", "bound by", *(["µs measured", "share"] if is_measured else [])):
            is_number = heading not in ("", "bound by")
            lines.add_column(heading, justify="right" if is_number else "left", overflow="fold")
        for row in self.rows:
            lines.add_row(*_cells(row, row.name or "(no layer)", is_measured))
        lines.add_section()
        lines.add_row(*_cells(self.total, "total, intermediates on the chip", is_measured))
        return lines

    def notes(self) -> list[str]:
        """Explains what the bounds are based on; one paragraph per string."""
        peak = self.peak
        found = [f"{peak.flops / 1e9:.4g} GFLOP/s, {peak.bytes / 1e9:.4g} GB/s: {peak.source}."]
        if self.total.measured is not None:
            found.append(
                "Measured: medians; for layers, the time in their instructions, summed over threads. Share: bound / "
                "measured time. It exceeds 1 if arrays stay in a cache or XLA has fused a layer's work into "
                "another layer's instruction; a layer without a time has no instruction named after it."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns peak rates, total and rows as a dictionary that `json` can write; see `jds.cost.Bound`."""
        return {
            "peak": self.peak._asdict(),
            "total": self.total._asdict() | {"share": self.total.share},
            "rows": [row._asdict() | {"share": row.share} for row in self.rows],
        }

    def __rich__(self) -> RenderableType:
        return Group(self.table(), "", *self.notes())

    def __str__(self) -> str:
        return as_text(self)


def _cells(row: Bound, name: str, is_measured: bool) -> list[str]:
    cells = [name, microseconds(row.seconds), row.limit]
    if is_measured and row.measured is not None:
        cells += [microseconds(row.measured), share(row)]
    return cells


def microseconds(seconds: float) -> str:
    """Formats a time in microseconds, to four digits or in full."""
    return f"{seconds * 1e6:.4g}" if seconds < 1e-2 else f"{seconds * 1e6:,.0f}"


def share(row: Bound) -> str:
    """Formats the ratio of bound to measured time for tables; empty if nothing was measured."""
    if row.share is None:
        return ""
    return f"{row.share:.2f}" if row.share <= 1 else "> 1"
