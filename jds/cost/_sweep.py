"""The costs of a family of programs, such as one network at several widths and image sizes."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import Number, as_text, plain_table, short_number
from jds.cost._analysis import Analysis
from jds.cost._data import as_csv, as_dataframe
from jds.cost._estimate import estimate


class Point(NamedTuple):
    """One program of a sweep.

    Attributes:
      settings: what it was made with.
      macs: multiply-accumulates.
      parameters: number of parameters.
      peak_bytes: peak memory without parameters and state, in bytes.
      seconds: the measured time or, if nothing was measured, the lower bound on the device; None without either.
    """

    settings: dict[str, Number]
    macs: int
    parameters: int
    peak_bytes: int
    seconds: float | None


class Sweep(NamedTuple):
    """The costs of a family of programs; prints as a table.

    Attributes:
      name: what was swept.
      device: the name of the device of the times; None without times.
      is_measured: whether the times are measured, and not lower bounds.
      points: the programs, in the order of the settings.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> make = lambda size: cost.analyze(jnp.dot, jnp.ones((8, size)), jnp.ones((size, 4)))
      >>> [point.macs for point in cost.sweep("product", make, {"size": [16, 32]}).points]
      [512, 1024]
    """

    name: str
    device: str | None
    points: tuple[Point, ...]
    is_measured: bool = False

    @property
    def time_heading(self) -> str:
        """What the times are."""
        return "ms measured" if self.is_measured else "ms at least"

    @property
    def times(self) -> str:
        """What the times are, in words; empty without times."""
        if self.device is None:
            return ""
        return "Times: measured on this machine." if self.is_measured else f"Times: lower bounds on {self.device}."

    def table(self) -> Table:
        """Returns the points as a table, for Rich to print."""
        lines = plain_table()
        settings = list(self.points[0].settings) if self.points else []
        for heading in (*settings, "mult-adds", "params", "peak memory", *([self.time_heading] if self.device else [])):
            lines.add_column(heading, justify="right")
        for point in self.points:
            figures = [short_number(count) for count in (point.macs, point.parameters, point.peak_bytes)]
            times = [] if point.seconds is None else [f"{1e3 * point.seconds:.3g}"]
            lines.add_row(*(f"{value:g}" for value in point.settings.values()), *figures, *times)
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write."""
        return {
            "schema": {"name": "jds.cost.sweep", "version": 1},
            **self._asdict(),
            "points": [point._asdict() for point in self.points],
        }

    def columns(self) -> dict[str, list[Any]]:
        """Returns columns by name, with one entry per point."""
        settings = list(self.points[0].settings) if self.points else []
        found: dict[str, list[Any]] = {name: [point.settings[name] for point in self.points] for name in settings}
        for name in Point._fields[1:]:
            found[name] = [getattr(point, name) for point in self.points]
        return found

    def to_csv(self) -> str:
        """Returns the points as CSV, with a header line."""
        return as_csv(self.columns())

    def to_dataframe(self) -> Any:
        """Returns the points as a `pandas.DataFrame`; raises ImportError if pandas is not installed."""
        return as_dataframe(self.columns(), index=None)

    def to_html(self) -> str:
        """Returns a self-contained HTML page."""
        # Imported here, because it needs this module.
        from jds.cost.pages import sweep_page

        return sweep_page(self)

    def plot(self, path: Path) -> None:
        """Plots the points by multiply-accumulates, parameters, peak memory and time, with the Pareto front.

        Args:
          path: the file to write; its suffix selects the format.
        """
        # Imported here, because Matplotlib is slower to import than jds.
        from jds.cost.figures import plot_sweep

        plot_sweep(path, self)

    def __rich__(self) -> RenderableType:
        return self.table()

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def sweep(
    name: str,
    make: Callable[..., Analysis],
    settings: Mapping[str, Sequence[Number]],
    device: str | None = None,
    measure: Callable[..., float] | None = None,
) -> Sweep:
    """Analyzes a program for every combination of settings.

    Args:
      name: what is swept, for titles.
      make: returns the analysis for settings, which are passed as keyword arguments.
      settings: for each setting, its values.
      device: the name of a device, as in `find_device`, for lower bounds on the times.
      measure: returns the measured time for settings, in seconds, as `make` returns the analysis; instead of bounds.

    Raises:
      ValueError: there is no such device, or there are no values.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> make = lambda size: cost.analyze(jnp.dot, jnp.ones((8, size)), jnp.ones((size, 4)))
      >>> cost.sweep("product", make, {"size": [16, 32]}, "h100").points[0].seconds > 0
      True
    """
    if not settings or not all(settings.values()):
        raise ValueError(f"sweep: `settings` must have at least one setting, each with values, got {dict(settings)}")
    points = []
    for values in itertools.product(*settings.values()):
        chosen = dict(zip(settings, values, strict=True))
        found = make(**chosen)
        if measure is not None:
            seconds = measure(**chosen)
        else:
            seconds = estimate(found, device).total.seconds if device else None
        total = found.total
        points.append(Point(chosen, total.macs, total.parameters, found.memory.activation_bytes, seconds))
    return Sweep(name, "this" if measure else device, tuple(points), measure is not None)
