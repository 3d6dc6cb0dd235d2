"""Limits on the cost of a program, for continuous integration."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import Number, amount, as_text, duration, plain_number, short_number
from jds.cost._analysis import Analysis, check_analysis
from jds.cost._columns import NO_LAYER
from jds.cost._estimate import estimate
from jds.cost._forecast import forecast
from jds.cost._grid import Heading, grid
from jds.cost._grouping import Grouping
from jds.cost._rows import CostRow

Quantity = Literal["macs", "flops", "params", "peak", "memory", "time", "bound"]
_WORST = 5


class Limit(NamedTuple):
    """The most that a program may cost.

    Attributes:
      quantity: `"macs"`, `"flops"`, `"params"`, `"peak"` (peak memory without parameters and state, in bytes),
        `"memory"` (peak memory with them), `"time"` (the upper end of the estimate from published measurements, in
        seconds) or `"bound"` (the lower bound on the time, in seconds).
      most: the limit.
      device: for `"time"` and `"bound"`, the name of a device, as in `find_device`.
      text: the limit as it was written, such as `"16GiB"`, for tables; None for a number with four digits.

    Example:
      >>> from jds import cost
      >>> cost.Limit("bound", 0.003, "raspberry pi 5").most
      0.003
    """

    quantity: Quantity
    most: float
    device: str | None = None
    text: str | None = None


class Verdict(NamedTuple):
    """A limit, and what the program costs.

    Attributes:
      limit: the limit.
      value: the cost; None if the time cannot be estimated.
      worst: the layers that cost most, with their costs; for peak memory, the layer of the peak.
      is_lower_bound: whether it costs more than `value`, by an unknown amount.
    """

    limit: Limit
    value: float | None
    worst: tuple[tuple[str, float], ...]
    is_lower_bound: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the program is known to cost no more than the limit."""
        return self.value is not None and self.value <= self.limit.most and not self.is_lower_bound

    @property
    def words(self) -> str:
        """Says whether the limit is kept or, if not, how many times it is exceeded."""
        if self.value is None:
            return "unknown"
        if self.value > self.limit.most:
            return _times(self.value / self.limit.most)
        return "unproven" if self.is_lower_bound else "kept"


class Budget(NamedTuple):
    """The verdicts on all limits; prints as a table.

    Attributes:
      verdicts: one for each limit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> budget = cost.check_budget(found, [cost.Limit("macs", 500)])
      >>> budget.is_kept, budget.verdicts[0].value
      (False, 512)
    """

    verdicts: tuple[Verdict, ...]

    @property
    def is_kept(self) -> bool:
        """Whether all limits are kept."""
        return all(verdict.is_kept for verdict in self.verdicts)

    def table(self, *, width: int | None = None) -> Table:
        """Returns the limits as a table, for Rich to print, with the layers that cost most of what is too much.

        Args:
          width: number of columns of the terminal; table columns that do not fit are left out. None for all.
        """
        rows = []
        for verdict in self.verdicts:
            quantity, most, device, written = verdict.limit
            value, mark = verdict.value, "≥ " if verdict.is_lower_bound else ""
            shown = "" if value is None else mark + _text(quantity, value)
            name = f"{quantity} on {device}" if device else quantity
            rows.append([name, shown, written or _text(quantity, most), verdict.words])
            for layer, part in () if verdict.is_kept else verdict.worst:
                rows.append([f"  {layer or NO_LAYER}", _text(quantity, part), "", ""])
        headings = [Heading("budget", is_number=False), Heading("cost"), Heading("at most", 0), Heading("")]
        return grid(headings, rows, width=width)

    def notes(self) -> list[str]:
        """Says what is unknown; one paragraph per string."""
        found = []
        if any(verdict.words == "unproven" for verdict in self.verdicts):
            found.append("Unproven: it costs more than is counted, by an unknown amount.")
        if any(verdict.value is None for verdict in self.verdicts):
            found.append("Unknown: too few networks with published times on this device; `bound` has no need of them.")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns all verdicts as a dictionary that `json` can write."""
        return {
            "is_kept": self.is_kept,
            "verdicts": [
                each._asdict() | {"limit": each.limit._asdict(), "is_kept": each.is_kept} for each in self.verdicts
            ],
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self.table(width=options.max_width)
        yield from ("", *notes) if (notes := self.notes()) else ()

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self.table(), *self.notes())


def check_budget(analysis: Analysis, limits: Sequence[Limit]) -> Budget:
    """Compares the cost of a program to limits. A limit on a cost that is not fully known is not kept.

    Args:
      analysis: the cost of the program.
      limits: the limits.

    Raises:
      ValueError: a quantity or a device is unknown, a number is not positive, or a time has no device.
      TypeError: `analysis` is no analysis, or `limits` are no `Limit`s.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.check_budget(found, [cost.Limit("macs", 1000), cost.Limit("bound", 1.0, "h100")]).is_kept
      True
    """
    check_analysis("check_budget", "`analysis`", analysis)
    if isinstance(limits, Limit) or not isinstance(limits, Iterable):
        raise TypeError(f"check_budget: `limits` must be a list of `jds.cost.Limit`s, got {limits!r}")
    return Budget(tuple(_verdict(analysis, limit) for limit in limits))


_FIGURES: Mapping[str, Callable[[CostRow], int]] = {
    "macs": lambda row: row.macs,
    "flops": lambda row: row.flops,
    "params": lambda row: row.parameters,
}


def _verdict(analysis: Analysis, limit: Limit) -> Verdict:
    if not isinstance(limit, Limit):
        raise TypeError(f"check_budget: `limits` must be `jds.cost.Limit`s, got {limit!r}")
    quantity, most, device, _ = limit
    if not isinstance(most, Number) or not most > 0:
        raise ValueError(f"check_budget: the most of {quantity} must be a positive number, got {most!r}")
    if quantity not in get_args(Quantity):
        raise ValueError(f"check_budget: a quantity must be {', '.join(get_args(Quantity))}, got {quantity!r}")
    if quantity in _FIGURES:
        figure = _FIGURES[quantity]
        rows = sorted(analysis.by("layer"), key=figure, reverse=True)[:_WORST]
        worst = tuple((row.name, figure(row)) for row in rows if figure(row))
        return Verdict(limit, figure(analysis.total), worst, quantity != "params" and analysis.is_lower_bound)
    if quantity in ("peak", "memory"):
        memory = analysis.memory
        value = memory.activation_bytes if quantity == "peak" else memory.bytes
        return Verdict(limit, value, ((memory.layer, value),))
    if device is None:
        raise ValueError(f"check_budget: `{quantity}` needs a device, as in {quantity}=3ms@raspberry_pi_5")
    found = estimate(analysis, device, Grouping("fused"))
    value = found.total.seconds if quantity == "bound" else forecast(analysis, device).high
    rows = sorted(found.rows, key=lambda row: row.seconds, reverse=True)[:_WORST]
    return Verdict(limit, value, tuple((row.name, row.seconds) for row in rows), analysis.is_lower_bound)


def _text(quantity: Quantity, value: Number) -> str:
    if quantity in ("time", "bound"):
        return duration(value)
    return short_number(round(value)) if value >= 1 else plain_number(value)


def _times(ratio: float) -> str:
    """Formats a ratio above 1, which is not shown as 1."""
    text = f"{ratio:.2f}" if ratio < 10 else amount(ratio)
    return "× > 1" if text == "1.00" else f"× {text}"
