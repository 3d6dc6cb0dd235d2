"""Two programs side by side."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import as_text, plain_table, short_number
from jds.cost._analysis import Analysis
from jds.cost._columns import NO_LAYER
from jds.cost._data import as_csv, as_dataframe, as_dict
from jds.cost._grouping import By, Grouping, as_grouping
from jds.cost._rows import CostRow


class Pair(NamedTuple):
    """A row of each of two programs; None for one that has no such row."""

    name: str
    row: CostRow | None
    reference: CostRow | None


# What is compared: the heading, the key in records, and the figure of a row.
FIGURES: tuple[tuple[str, str, Callable[[CostRow], int]], ...] = (
    ("mult-adds", "macs", lambda row: row.macs),
    ("params", "parameters", lambda row: row.parameters),
    ("traffic", "traffic", lambda row: row.traffic),
)


class Comparison(NamedTuple):
    """Two programs, row by row; prints as a table.

    Attributes:
      name, reference: names of the programs.
      rows: the rows, in the order of the first program; those that only the reference has stand where it has them.
      total: the whole programs.
      peaks: their peak memory without parameters and state, in bytes.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> one, two = (cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, n))) for n in (4, 8))
      >>> cost.compare(one, two, "operation").rows[0].reference.macs
      1024
    """

    name: str
    reference: str
    rows: tuple[Pair, ...]
    total: Pair
    peaks: tuple[int, int]

    def table(self) -> Table:
        """Returns the figures of both and their differences as a table, for Rich to print."""
        lines = plain_table()
        lines.add_column("", overflow="fold")
        for heading, _, _ in FIGURES:
            for column in (heading, "against", "change"):
                lines.add_column(column, justify="right")
        for pair in self.rows:
            lines.add_row(pair.name or NO_LAYER, *_cells(pair))
        lines.add_section()
        lines.add_row("total", *_cells(self.total))
        peaks = [short_number(peak) for peak in self.peaks]
        rest = [""] * (3 * (len(FIGURES) - 1))
        lines.add_row("peak memory", *rest, *peaks, change(*self.peaks))
        return lines

    def notes(self) -> list[str]:
        """Says what is compared."""
        return [
            f"{self.name} against {self.reference}. Traffic: bytes that each row reads and writes. Peak memory: bytes, "
            "without parameters and state."
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write."""
        return {
            "schema": {"name": "jds.cost.comparison", "version": 1},
            "name": self.name,
            "reference": self.reference,
            "rows": [_pair_as_dict(pair) for pair in self.rows],
            "total": _pair_as_dict(self.total),
            "peaks": list(self.peaks),
        }

    def columns(self) -> dict[str, list[Any]]:
        """Returns columns by name, with one entry per row and one for the total."""
        pairs = (*self.rows, self.total)
        found: dict[str, list[Any]] = {"name": [pair.name for pair in pairs]}
        for _, key, figure in FIGURES:
            for side in ("row", "reference"):
                rows = [getattr(pair, side) for pair in pairs]
                found[key if side == "row" else f"reference_{key}"] = [
                    None if row is None else figure(row) for row in rows
                ]
        return found

    def to_csv(self) -> str:
        """Returns the rows as CSV, with a header line."""
        return as_csv(self.columns())

    def to_dataframe(self) -> Any:
        """Returns the rows as a `pandas.DataFrame`; raises ImportError if pandas is not installed."""
        return as_dataframe(self.columns())

    def to_html(self) -> str:
        """Returns a self-contained HTML page."""
        # Imported here, because it needs this module.
        from jds.cost.pages import comparison_page

        return comparison_page(self)

    def __rich__(self) -> RenderableType:
        return Group(self.table(), "", *self.notes())

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def compare(analysis: Analysis, reference: Analysis, by: By | Grouping = "layer") -> Comparison:
    """Compares the costs of two programs, such as two networks, or a network and the file that it was exported to.

    Args:
      analysis: the analysis of a program.
      reference: that of the program that it is compared to.
      by: how to group the rows; rows of the same name are compared. `Grouping("layer", depth=2)` compares the stages of
        the networks of jds.

    Raises:
      ValueError: the grouping is wrong.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> one, two = (cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, n))) for n in (4, 8))
      >>> cost.compare(one, two).total.reference.macs
      1024
    """
    grouping = as_grouping(by)
    first, second = ({row.name: row for row in each.by(grouping)} for each in (analysis, reference))
    rows = tuple(Pair(name, first.get(name), second.get(name)) for name in _merged(list(first), list(second)))
    peaks = analysis.memory.activation_bytes, reference.memory.activation_bytes
    return Comparison(analysis.name, reference.name, rows, Pair("total", analysis.total, reference.total), peaks)


def _merged(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Merges two orders: names that only the second has follow the name before them there."""
    found = list(first)
    place = 0
    for name in second:
        if name in first:
            place = found.index(name) + 1
        else:
            found.insert(place, name)
            place += 1
    return found


def _cells(pair: Pair) -> list[str]:
    cells = []
    for _, _, figure in FIGURES:
        count, reference = (None if row is None else figure(row) for row in pair[1:])
        cells += ["" if each is None else short_number(each) for each in (count, reference)]
        cells.append("" if count is None or reference is None else change(count, reference))
    return cells


def change(count: int, reference: int) -> str:
    """Returns how much more than the reference it is, in percent."""
    if count == reference:
        return "="
    if not reference:
        return "new"
    ratio = count / reference
    return f"{100 * (ratio - 1):+.0f}%" if ratio < 10 else f"{ratio:.0f}×"


def _pair_as_dict(pair: Pair) -> dict[str, Any]:
    sides = {side: getattr(pair, side) for side in ("row", "reference")}
    return {"name": pair.name} | {side: None if row is None else as_dict(row) for side, row in sides.items()}
