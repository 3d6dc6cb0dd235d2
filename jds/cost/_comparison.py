"""Two programs side by side."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import amount, as_text, short_number
from jds.cost._analysis import Analysis, check_analysis
from jds.cost._columns import NO_LAYER, count_text
from jds.cost._data import as_csv, as_dataframe, as_dict, head
from jds.cost._grid import Heading, grid
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

    def table(self, *, width: int | None = None) -> Table:
        """Returns the figures of both and their differences as a table, for Rich to print.

        Args:
          width: number of columns of the terminal; table columns that do not fit are left out. None for all.
        """
        headings = [Heading("", is_number=False)]
        for number, (heading, _, _) in enumerate(FIGURES):
            # Of the first figure, the change is shown before what it is a change of.
            priorities = (0, 2, 1) if number == 0 else (number + 2,) * 3
            headings += map(Heading, (heading, "against", "change"), priorities)
        rows = [[pair.name or NO_LAYER, *(text for text, _ in cells(pair))] for pair in (*self.rows, self.total)]
        return grid(headings, rows[:-1], rows[-1:], width=width)

    def notes(self) -> list[str]:
        """Says what is compared, and what memory each needs; one paragraph per string."""
        peak, reference = map(short_number, self.peaks)
        found = [
            f"{self.name} against {self.reference}. Traffic: bytes that each row reads and writes.",
            f"Peak memory, without parameters and state: {peak} bytes against {reference}, {change(*self.peaks)}.",
        ]
        if any(row is not None and row.is_lower_bound for row in self.total[1:]):
            found.append("≥: it costs more than is counted, so that a change is unknown.")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write; its JSON Schema is `jds.cost.json_schema()`."""
        return head("jds.cost.comparison", self.name) | {
            "reference": self.reference,
            "rows": [_pair_as_dict(pair) for pair in self.rows],
            "total": _pair_as_dict(self.total),
            "peaks": list(self.peaks),
        }

    def columns(self) -> dict[str, list[Any]]:
        """Returns columns by name, with one entry per row and one for the total."""
        pairs = (*self.rows, self.total)
        found: dict[str, list[Any]] = {"name": [pair.name for pair in pairs]}
        for _, key, figure in (*FIGURES, ("", "is_lower_bound", lambda row: row.is_lower_bound)):
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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self.table(width=options.max_width)
        yield ""
        yield from self.notes()

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self.table(), *self.notes())


def compare(analysis: Analysis, reference: Analysis, by: By | Grouping = "layer") -> Comparison:
    """Compares the costs of two programs, such as two networks, or a network and the file that it was exported to.

    Args:
      analysis: the analysis of a program.
      reference: that of the program that it is compared to.
      by: how to group the rows; rows of the same name are compared. `Grouping("layer", depth=2)` compares the stages of
        the networks of jds.

    Raises:
      ValueError: the grouping is wrong, or has `top`: the rows that it leaves out differ.
      TypeError: one of the two is no analysis.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> one, two = (cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, n))) for n in (4, 8))
      >>> cost.compare(one, two).total.reference.macs
      1024
    """
    check_analysis("compare", "`analysis`", analysis)
    check_analysis("compare", "`reference`", reference)
    grouping = as_grouping(by)
    if grouping.top is not None:
        raise ValueError(f"compare: `top` must be None, because each program has its own rows, got {grouping.top}")
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


def cells(pair: Pair) -> Iterator[tuple[str, int | None]]:
    """Yields what is shown of a pair, and the numbers to sort by: for each figure those of both, and the change."""
    for _, key, figure in FIGURES:
        known = [row for row in pair[1:] if row is not None]
        is_unknown = key == "macs" and any(row.is_lower_bound for row in known)
        for row in pair[1:]:
            if row is None:
                yield "", None
            else:
                yield count_text(row, figure(row)) if key == "macs" else short_number(figure(row)), figure(row)
        if len(known) < 2 or is_unknown:
            yield "?" if len(known) == 2 else "", None
        else:
            yield change(*map(figure, known)), figure(known[0]) - figure(known[1])


def change(count: int, reference: int) -> str:
    """Returns how much more than the reference it is, in percent."""
    if count == reference:
        return "="
    if not reference:
        return "new"
    ratio = count / reference
    if ratio >= 10:
        return f"{amount(ratio)}×"
    # No difference is shown as none.
    percent = f"{100 * (ratio - 1):+.0f}%"
    return f"{'+' if ratio > 1 else '-'}<1%" if percent in ("+0%", "-0%") else percent


def _pair_as_dict(pair: Pair) -> dict[str, Any]:
    sides = {side: getattr(pair, side) for side in ("row", "reference")}
    return {"name": pair.name} | {side: None if row is None else as_dict(row) for side, row in sides.items()}
