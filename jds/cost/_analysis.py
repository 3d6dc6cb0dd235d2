"""The result of an analysis, which can be printed, or exported as data, an HTML page or a figure."""

import collections
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import as_text, counted, in_layer, plain_number, short_number
from jds.cost import _columns, _data, _text
from jds.cost._bounds import Estimate, check_estimate
from jds.cost._deployed import DeployedDtype, deployed, is_floating
from jds.cost._grouping import By, Grouping, as_grouping
from jds.cost._least import Least, least_of
from jds.cost._memory import Memory, memory_of
from jds.cost._program import Conditional, Conventions, Operation, Program
from jds.cost._rows import CostRow, RowGroup, rows_by, total_row, used_parameters
from jds.cost._traffic import Traffic, least_traffic
from jds.cost.fields import Field, receptive_fields


@dataclasses.dataclass(frozen=True, repr=False)
class Analysis:
    """The cost of a program, as returned by `jds.cost.analyze`; prints as a table.

    Attributes:
      name: the program's name.
      total: one row for the whole program. Its bytes are those of the program's arguments and results.
      conventions: the options passed to `analyze`.
      conditionals: the conditionals, with the costs of all their branches.
      unknown_trips: paths of `while` loops with an unknown trip count, which are counted as one iteration.
      unused_parameters: number of parameter elements that no equation reads; `total` includes them, other rows do not.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jds import cost
      >>> def fun(x, w):
      ...     with jax.named_scope("layer"):
      ...         return x @ w
      >>> found = cost.analyze(fun, jnp.ones((8, 16)), jnp.ones((16, 4)), parameter_argnums=1)
      >>> print(found)
      layer  kind   output  mult-adds    %  FLOPs  params  bytes in  out  FLOP/B
      ──────────────────────────────────────────────────────────────────────────
      layer  dense  8×4           512  100   1024      64       512  128     1.1
      <BLANKLINE>
      total         8×4           512  100   1024      64       512  128     1.1
      <BLANKLINE>
      Mult-adds include padding; FLOPs are 2 per mult-add, and element-wise work. Bytes: activations.
      Peak memory: 896 bytes = 256 parameters + 512 inputs + 128 activations, in layer.
      >>> found.total.macs, [row.name for row in found.by("operation")]
      (512, ['dot_general'])
    """

    name: str
    total: CostRow
    conventions: Conventions
    conditionals: tuple[Conditional, ...]
    unknown_trips: tuple[str, ...]
    unused_parameters: int
    _program: Program
    _traffic: Traffic
    _groups: dict[Grouping, tuple[RowGroup, ...]] = dataclasses.field(default_factory=dict)

    def by(self, by: By | Grouping = "layer") -> tuple[CostRow, ...]:
        """Returns rows, in program order unless the grouping says otherwise.

        Args:
          by: what to group by, or how, with a depth, an order and a number of rows.

        Raises:
          ValueError: the grouping is wrong.
        """
        return tuple(group.row for group in self.groups(by))

    @functools.cached_property
    def _fields(self) -> list[Field | None]:
        return receptive_fields(self._program)

    def groups(self, by: By | Grouping = "layer") -> tuple[RowGroup, ...]:
        """Returns rows with the indices of their `operations`; arguments and errors as for `by`."""
        grouping = as_grouping(by)
        if grouping not in self._groups:
            self._groups[grouping] = rows_by(grouping, self._program, self._traffic, self._fields)
        return self._groups[grouping]

    @functools.cached_property
    def memory(self) -> Memory:
        """The peak memory, by the liveness of the program's arrays."""
        return memory_of(self._program)

    @functools.cached_property
    def least(self) -> Least:
        """The work and the traffic that no compiler can leave out, on which lower bounds on time are based."""
        return least_of(self._program, self._traffic)

    def as_dtype(self, dtype: DeployedDtype) -> "Analysis":
        """Returns the analysis of the program as deployed: all floating-point numbers are stored in a dtype.

        Args:
          dtype: `"float16"`, `"bfloat16"` or `"int8"`. Weights and activations both have it.

        Raises:
          ValueError: the dtype is none of these.

        Example:
          >>> import jax.numpy as jnp
          >>> from jds import cost
          >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
          >>> found.total.bytes_in, found.as_dtype("int8").total.bytes_in
          (768, 192)
        """
        if dtype not in get_args(DeployedDtype):
            raise ValueError(f"as_dtype: `dtype` must be {', '.join(get_args(DeployedDtype))}, got {dtype!r}")
        return summarize(deployed(self._program, dtype), self.name)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the program's floating-point arrays."""
        found = dict.fromkeys(value.dtype for value in self._program.values if is_floating(value.dtype))
        return tuple(dtype.name for dtype in found)

    @functools.cached_property
    def layer_sizes(self) -> dict[str, int]:
        """The number of operations of each layer, without changes of shape."""
        return dict(collections.Counter("/".join(each.path) for each in self.operations if each.outputs))

    @property
    def while_loops(self) -> tuple[str, ...]:
        """Paths of the layers with `while` loops, the keys of `trip_counts`."""
        return tuple(dict.fromkeys("/".join(path) for path in self._program.while_loops))

    @functools.cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The equations that do work, in program order."""
        return tuple(self._program.operations)

    @property
    def backward_to_forward(self) -> float | None:
        """Ratio of backward to forward multiply-accumulates; None if there is no forward pass."""
        forward = self.total.macs - self.total.backward.macs
        return self.total.backward.macs / forward if forward else None

    @property
    def is_lower_bound(self) -> bool:
        """Whether the program costs more than is counted, by an unknown amount."""
        return self.total.is_lower_bound

    def table(
        self, by: By | Grouping = "layer", *, width: int | None = None, estimate: Estimate | None = None
    ) -> Table:
        """Returns rows and total as a table, for Rich to print.

        Args:
          by: how to group the rows.
          width: number of columns of the terminal; table columns that do not fit are left out. None for all.
          estimate: times of the same rows on a device.
        """
        check_estimate("table", estimate)
        columns, lines, total = self._lines(as_grouping(by), estimate)
        return _text.table(columns, lines, total, estimate, width)

    def _lines(
        self, grouping: Grouping, estimate: Estimate | None
    ) -> tuple[list[_columns.Column], list[_columns.Line], _columns.Line]:
        rows = self.by(grouping)
        columns = _columns.columns(grouping, rows, self.total, estimate, is_padded=self.conventions.count_padding)
        lines = _columns.lines(rows, self.total, estimate)
        return columns, lines, _columns.total_line(self.total, estimate)

    def notes(self) -> list[str]:
        """Explains how the cost was counted and what is unknown; one paragraph per string."""
        padding = "include" if self.conventions.count_padding else "exclude"
        found = [f"Mult-adds {padding} padding; FLOPs are 2 per mult-add, and element-wise work. Bytes: activations."]
        ratio = self.backward_to_forward
        if ratio:
            times = f"{ratio:.2f}" if ratio >= 0.01 else plain_number(ratio)
            found.append(f"The backward pass has {times} times the mult-adds of the forward pass.")
        counts, one = self.total.counts, self.total.per_device
        others = [
            counted(number, one, many)
            for number, one, many in (
                (counts.transcendentals, "transcendental function", "transcendental functions"),
                (counts.integer_operations, "operation on integers", "operations on integers"),
            )
            if number
        ]
        if others:
            found.append(f"Not in the FLOPs: {' and '.join(others)}.")
        if one != counts:
            found.append(
                f"One device does {short_number(one.macs)} of the mult-adds and {short_number(one.flops)} of the "
                "FLOPs, and the peak memory is that of one device."
            )
        return [*found, *self._unknowns(), self.memory.summary()]

    def _unknowns(self) -> list[str]:
        found = []
        for conditional in self.conditionals:
            costs = ", ".join(
                ("≥ " if is_lower_bound else "") + short_number(branch.flops)
                for branch, is_lower_bound in zip(conditional.branches, conditional.are_lower_bounds, strict=True)
            )
            place = in_layer("/".join(conditional.path))
            found.append(f"Conditional {place}: branches of {costs} FLOPs; the most expensive one is counted.")
        if self.unknown_trips:
            places = ", ".join(map(in_layer, dict.fromkeys(self.unknown_trips)))
            found.append(
                f"Lower bound: `while` {places} is counted as one iteration; set the number with `trip_counts` "
                "(`--trip-counts`)."
            )
        if self.total.unknown:
            names = ", ".join(f"{name} ({times}×)" for name, times in self.total.unknown.items())
            advice = "" if self._program.is_file else "; add one with `jds.cost.register`"
            found.append(f"Lower bound: no rule for {names}{advice}.")
        if self.unused_parameters:
            verb = "is" if self.unused_parameters == 1 else "are"
            found.append(f"{counted(self.unused_parameters, 'parameter')} {verb} not used.")
        return found

    def to_dict(self, estimate: Estimate | None = None) -> dict[str, Any]:
        """Returns everything as a dictionary that `json` can write.

        Its JSON Schema is `jds/cost/record.schema.json`, which `jds.cost.json_schema()` returns.

        Args:
          estimate: times of the layers on a device.
        """
        check_estimate("to_dict", estimate)
        return _data.record(self, estimate)

    def to_csv(self, by: By | Grouping = "layer", estimate: Estimate | None = None) -> str:
        """Returns the rows as CSV, with a header line.

        Args:
          by: how to group the rows.
          estimate: times of the same rows on a device; adds them and any measured times, in seconds.
        """
        check_estimate("to_csv", estimate)
        return _data.as_csv(_data.columns(self.by(by), self.total, estimate))

    def to_dataframe(self, by: By | Grouping = "layer", estimate: Estimate | None = None) -> Any:
        """Returns the rows as a `pandas.DataFrame`, indexed by the rows' names.

        Args:
          by: how to group the rows.
          estimate: times of the same rows on a device; adds them and any measured times, in seconds.

        Raises:
          ImportError: pandas is not installed.
        """
        check_estimate("to_dataframe", estimate)
        return _data.as_dataframe(_data.columns(self.by(by), self.total, estimate))

    def to_html(self, by: By | Grouping = "layer", estimate: Estimate | None = None) -> str:
        """Returns a self-contained HTML page.

        Args:
          by: how to group the rows.
          estimate: times of the same rows on a device; adds them, any measured times, and the device's roofline.

        Returns:
          The text of the page, which declares UTF-8 as its encoding.
        """
        check_estimate("to_html", estimate)
        # Imported here, because pages need the analyses of all depths.
        from jds.cost.pages import analysis_page

        return analysis_page(self, as_grouping(by), estimate)

    def plot(self, path: str | Path, estimate: Estimate | None = None) -> None:
        """Plots the multiply-adds and the minimum traffic of each layer.

        Args:
          path: the file to write; its suffix selects the format, such as `.png`, `.svg` or `.pdf`.
          estimate: times of the layers on a device; adds them, any measured times, and the device's roofline.

        Raises:
          ValueError: the format is unknown.
          OSError: the file cannot be written.
        """
        check_estimate("plot", estimate)
        # Imported here, because Matplotlib is slower to import than jds.
        from jds.cost.figures import plot_analysis

        plot_analysis(path, self, estimate)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self.table(width=options.max_width)
        yield ""
        yield from self.notes()

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(self.table(), *self.notes())


def check_analysis(function: str, words: str, value: Any) -> None:
    """Raises TypeError, with the name of a function, unless what it gets, in words, is an analysis."""
    if not isinstance(value, Analysis):
        raise TypeError(f"{function}: {words} must be a result of `jds.cost.analyze`, got {type(value).__name__}")


def summarize(program: Program, name: str) -> Analysis:
    """Summarizes a program."""
    traffic = least_traffic(program)
    total = total_row(program, traffic)
    return Analysis(
        name=name,
        total=total,
        conventions=program.conventions,
        conditionals=tuple(program.conditionals),
        unknown_trips=tuple("/".join(path) for path in program.unknown_trips),
        unused_parameters=total.parameters - used_parameters(program),
        _program=program,
        _traffic=traffic,
    )
