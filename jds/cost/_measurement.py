"""Measured times of a program and its layers."""

from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import as_text, plain_number, plain_table
from jds.cost._perfetto import write_trace
from jds.cost._run import Owner, Run
from jds.cost._timing import Spread

# The profiled runs, or half of the others, took longer than the median by more than these factors.
_SLOWER, _UNSTEADY = 1.1, 1.2
# In more than this share of a run, no instruction ran.
_WAITING = 0.05


class Measurement(NamedTuple):
    """Measured times of a program, in seconds per call; prints as a table.

    Attributes:
      total: time from the call to its results.
      layers: time of each layer; the medians add up to that of `total`. At each moment of a profiled run, the time
        belongs to the layer of XLA's instruction that runs; several threads share it. An instruction that XLA fused
        from several layers belongs to the layer that XLA names it after, so that a layer may be missing. The time
        between two instructions, in which XLA starts the second one or waits for a thread, belongs to the second one
        or, in a loop, to the loop. A loop's own time, such as for slicing what it iterates over and stacking its
        results, belongs to the layer that the loop is in; `"(loops)"` is that of loops in no layer. `"(call)"` is the
        time before the first instruction and after the last one, `"(not attributed)"` that of instructions of which
        XLA does not tell the equation.
      profiled: time of the profiled runs, whose shares `layers` has.
      run: the profiled run with the median time, for `to_perfetto`; None if there is none.
      parts: the time of each operation, and the rest of the layers' times: `layers` in finer parts, for `estimate`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> measured = cost.measure_program(jnp.sin, jnp.ones(9), seconds=0.0)
      >>> measured.total.low <= measured.total.median
      True
    """

    total: Spread
    layers: dict[str, Spread]
    profiled: Spread
    run: Run | None = None
    parts: tuple[tuple[Owner, float], ...] = ()

    def table(self) -> Table:
        """Returns medians and half the interquartile ranges as a table, for Rich to print."""
        lines = plain_table()
        lines.add_column("layer", overflow="fold")
        lines.add_column("µs measured", justify="right")
        for name, seconds in self.layers.items():
            lines.add_row(name or "(no layer)", _cell(seconds))
        lines.add_section()
        lines.add_row("total", _cell(self.total))
        return lines

    def notes(self) -> list[str]:
        """Says what disturbed the measurement, if anything; one paragraph per string."""
        found = []
        factor = self.profiled.median / self.total.median
        if factor > _SLOWER:
            found.append(
                f"The runs that were profiled for the layers took {factor:.2f} times as long as the others; the times "
                "of the layers are their shares of the program's time."
            )
        if self.total.high / self.total.median > _UNSTEADY:
            found.append(
                f"The machine was busy, or its clock varied: a quarter of the runs took more than "
                f"{self.total.high / self.total.median:.2f} times the median."
            )
        waiting = self.run.waiting / self.run.seconds if self.run else 0.0
        if waiting > _WAITING:
            found.append(
                f"For {waiting:.0%} of the time, XLA started instructions or waited for threads: in a loop, this is "
                "the loop's time, otherwise that of the instruction that starts."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns all times as a dictionary that `json` can write."""
        layers = {name: seconds._asdict() for name, seconds in self.layers.items()}
        return {"total": self.total._asdict(), "profiled": self.profiled._asdict(), "layers": layers}

    def to_perfetto(self, path: str | Path) -> None:
        """Writes the profiled run with the median time as a trace, which ui.perfetto.dev and chrome://tracing open.

        One track has the layers, inside of the layers that contain them, with the times that `layers` is computed from:
        if several threads run at the same time, they share it. Each thread has a track of XLA's instructions, with
        their layer, primitive and duration.

        Args:
          path: the file to write, in JSON; it is compressed if its name ends in `.gz`.

        Raises:
          ValueError: no run was kept.
          OSError: the file cannot be written; one that exists is not changed.

        Example:
          >>> import json, tempfile
          >>> from pathlib import Path
          >>> import jax.numpy as jnp
          >>> from jds import cost
          >>> measured = cost.measure_program(jnp.sin, jnp.ones(9), seconds=0.0)
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     measured.to_perfetto(Path(folder) / "trace.json")
          ...     list(json.loads((Path(folder) / "trace.json").read_text()))
          ['traceEvents', 'displayTimeUnit']
        """
        if self.run is None:
            raise ValueError("to_perfetto: the measurement has no profiled run")
        write_trace(Path(path), self.run)

    def __rich__(self) -> RenderableType:
        notes = self.notes()
        return Group(self.table(), *([""] if notes else []), *notes)

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return f"Measurement(total={self.total}, layers={self.layers}, profiled={self.profiled})"

    def _repr_html_(self) -> str:
        return as_html(self)


def _cell(seconds: Spread) -> str:
    return f"{plain_number(seconds.median * 1e6, 4)} ±{plain_number(seconds.half_width * 1e6, 2)}"
