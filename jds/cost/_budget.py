"""Limits on the cost of a program, for continuous integration."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from rich.console import RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import Number, as_text, plain_table, short_number
from jds.cost._analysis import Analysis
from jds.cost._columns import NO_LAYER
from jds.cost._estimate import estimate
from jds.cost._forecast import forecast
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
    """

    limit: Limit
    value: float | None
    worst: tuple[tuple[str, float], ...]

    @property
    def is_kept(self) -> bool:
        """Whether the program costs no more than the limit."""
        return self.value is not None and self.value <= self.limit.most


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

    def table(self) -> Table:
        """Returns the limits as a table, for Rich to print, with the layers that cost most of what is too much."""
        lines = plain_table()
        lines.add_column("budget", overflow="fold")
        for heading in ("cost", "at most", ""):
            lines.add_column(heading, justify="right")
        for limit, value, worst in self.verdicts:
            most = limit.text or _text(limit.quantity, limit.most)
            is_kept = value is not None and value <= limit.most
            where = f" on {limit.device}" if limit.device else ""
            shown = "unknown" if value is None else _text(limit.quantity, value)
            words = "kept" if is_kept else "unknown" if value is None else f"× {value / limit.most:.2f}"
            lines.add_row(limit.quantity + where, shown, most, words)
            for name, part in () if is_kept else worst:
                lines.add_row(f"  {name or NO_LAYER}", _text(limit.quantity, part), "", "")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Returns all verdicts as a dictionary that `json` can write."""
        return {
            "is_kept": self.is_kept,
            "verdicts": [
                each._asdict() | {"limit": each.limit._asdict(), "is_kept": each.is_kept} for each in self.verdicts
            ],
        }

    def __rich__(self) -> RenderableType:
        return self.table()

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def check_budget(analysis: Analysis, limits: Sequence[Limit]) -> Budget:
    """Compares the cost of a program to limits. A cost that is only known to be more than a number is not kept.

    Args:
      analysis: the cost of the program.
      limits: the limits.

    Raises:
      ValueError: a quantity or a device is unknown, or a time has no device.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.check_budget(found, [cost.Limit("macs", 1000), cost.Limit("bound", 1.0, "h100")]).is_kept
      True
    """
    return Budget(tuple(_verdict(analysis, limit) for limit in limits))


_FIGURES: Mapping[str, Callable[[CostRow], int]] = {
    "macs": lambda row: row.macs,
    "flops": lambda row: row.flops,
    "params": lambda row: row.parameters,
}


def _verdict(analysis: Analysis, limit: Limit) -> Verdict:
    quantity, device = limit.quantity, limit.device
    if quantity not in get_args(Quantity):
        raise ValueError(f"check_budget: a quantity must be {', '.join(get_args(Quantity))}, got {quantity!r}")
    if quantity in _FIGURES:
        figure = _FIGURES[quantity]
        rows = sorted(analysis.by("layer"), key=figure, reverse=True)[:_WORST]
        is_unknown = quantity != "params" and analysis.is_lower_bound
        value = None if is_unknown and figure(analysis.total) <= limit.most else figure(analysis.total)
        return Verdict(limit, value, tuple((row.name, figure(row)) for row in rows if figure(row)))
    if quantity in ("peak", "memory"):
        memory = analysis.memory
        value = memory.activation_bytes if quantity == "peak" else memory.bytes
        return Verdict(limit, value, ((memory.layer, value),))
    if device is None:
        raise ValueError(f"check_budget: `{quantity}` needs a device, as in {quantity}=3ms@raspberry_pi_5")
    found = estimate(analysis, device, Grouping("fused"))
    value = found.total.seconds if quantity == "bound" else forecast(analysis, device).high
    rows = sorted(found.rows, key=lambda row: row.seconds, reverse=True)[:_WORST]
    return Verdict(limit, value, tuple((row.name, row.seconds) for row in rows))


def _text(quantity: Quantity, value: Number) -> str:
    return f"{1e3 * value:.3g} ms" if quantity in ("time", "bound") else short_number(round(value))
