"""The costs of a family of programs, such as one network at several widths and image sizes."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import Number, as_text, plain_number, short_number
from jds.cost._analysis import Analysis, check_analysis
from jds.cost._data import as_csv, as_dataframe, head
from jds.cost._estimate import estimate
from jds.cost._grid import Heading, grid


class Point(NamedTuple):
    """One program of a sweep.

    Attributes:
      settings: what it was made with.
      macs: multiply-accumulates.
      parameters: number of parameters.
      peak_bytes: peak memory without parameters and state, in bytes.
      seconds: the measured time or, if nothing was measured, the lower bound on the device; None without either.
      is_lower_bound: whether it costs more than is counted, by an unknown amount.
    """

    settings: dict[str, Number]
    macs: int
    parameters: int
    peak_bytes: int
    seconds: float | None
    is_lower_bound: bool = False

    @property
    def texts(self) -> list[str]:
        """What is shown: of each setting, then multiply-accumulates, parameters, peak memory, and milliseconds."""
        mark = "≥ " if self.is_lower_bound else ""
        counts = [mark + short_number(self.macs), short_number(self.parameters), short_number(self.peak_bytes)]
        times = [] if self.seconds is None else [plain_number(1e3 * self.seconds)]
        return [*map(setting_text, self.settings.values()), *counts, *times]


def setting_text(value: Number) -> str:
    """Formats the value of a setting."""
    return plain_number(value, 6).replace(",", "")


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

    def table(self, *, width: int | None = None) -> Table:
        """Returns the points as a table, for Rich to print.

        Args:
          width: number of columns of the terminal; table columns that do not fit are left out. None for all.
        """
        settings = list(self.points[0].settings) if self.points else []
        figures = [Heading("mult-adds", 0), Heading("params", 3), Heading("peak memory", 2)]
        times = [Heading(self.time_heading, 1)] if self.device else []
        headings = [*map(Heading, settings), *figures, *times]
        return grid(headings, [point.texts for point in self.points], width=width)

    def notes(self) -> list[str]:
        """Says what the figures are; one paragraph per string."""
        found = ["Peak memory: bytes, without parameters and state.", *filter(None, [self.times])]
        if any(point.is_lower_bound for point in self.points):
            found.append("≥: it costs more than is counted.")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write; its JSON Schema is `jds.cost.json_schema()`."""
        return head("jds.cost.sweep", self.name) | {
            "device": self.device,
            "is_measured": self.is_measured,
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

    def plot(self, path: str | Path) -> None:
        """Plots the points by multiply-accumulates, parameters, peak memory and time, with the Pareto front.

        Args:
          path: the file to write; its suffix selects the format.

        Raises:
          ValueError: the format is unknown.
          OSError: the file cannot be written.
        """
        # Imported here, because Matplotlib is slower to import than jds.
        from jds.cost.figures import plot_sweep

        plot_sweep(path, self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self.table(width=options.max_width)
        yield ""
        yield from self.notes()

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self.table(), *self.notes())


def sweep(
    name: str,
    make: Callable[..., Analysis],
    settings: Mapping[str, Sequence[Number] | np.ndarray],
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
      TypeError: `make` returns no analysis, or `settings` has another form.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> make = lambda size: cost.analyze(jnp.dot, jnp.ones((8, size)), jnp.ones((size, 4)))
      >>> cost.sweep("product", make, {"size": [16, 32]}, "h100").points[0].seconds > 0
      True
    """
    if not callable(make):
        raise TypeError(f"sweep: `make` must be a function that returns an analysis, got {type(make).__name__}")
    if not isinstance(settings, Mapping) or not all(isinstance(values, Iterable) for values in settings.values()):
        raise TypeError(f'sweep: `settings` must map names to values, as in {{"width": [0.5, 1.0]}}, got {settings!r}')
    settings = {
        name: values.tolist() if isinstance(values, np.ndarray) else list(values) for name, values in settings.items()
    }
    if not settings or not all(settings.values()):
        raise ValueError(f"sweep: `settings` must have at least one setting, each with values, got {settings}")
    points = []
    for values in itertools.product(*settings.values()):
        chosen = dict(zip(settings, values, strict=True))
        found = make(**chosen)
        check_analysis("sweep", "what `make` returns", found)
        if measure is not None:
            seconds = measure(**chosen)
        else:
            seconds = estimate(found, device).total.seconds if device else None
        total = found.total
        peak = found.memory.activation_bytes
        points.append(Point(chosen, total.macs, total.parameters, peak, seconds, found.is_lower_bound))
    return Sweep(name, "this" if measure else device, tuple(points), measure is not None)
