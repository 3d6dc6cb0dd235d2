"""The result of an analysis, which can be printed, or exported as data, an HTML page or a figure."""

import dataclasses
from pathlib import Path
from typing import Any, get_args

import jax
from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.text import as_text, short_number
from jds.cost import _data, _page, _text
from jds.cost._bounds import Estimate
from jds.cost._deployed import DeployedDtype, deployed, is_floating
from jds.cost._program import Conditional, Conventions, Operation, Program
from jds.cost._rows import By, CostRow, groups_by, rows_by, total_row, used_parameters
from jds.cost._traffic import Traffic, least_traffic

SCHEMA = {"name": "jds.cost", "version": 2}


@dataclasses.dataclass(frozen=True, repr=False)
class Analysis:
    """The cost of a program, as returned by `jds.cost.analyze`; prints as a table.

    Attributes:
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
      >>> print(found)  # doctest: +ELLIPSIS
      layer mult-adds FLOPs params bytes in out FLOP/B
      ────────────────────────────────────────────────
      layer       512  1024     64      512 128    1.1
      <BLANKLINE>
      total       512  1024     64      512 128    1.1
      <BLANKLINE>
      mult-adds: multiply-accumulates, including padding. ...
      >>> found.total.macs, [row.name for row in found.by("operation")]
      (512, ['dot_general'])
    """

    total: CostRow
    conventions: Conventions
    conditionals: tuple[Conditional, ...]
    unknown_trips: tuple[str, ...]
    unused_parameters: int
    _program: Program
    _traffic: Traffic

    def by(self, by: By) -> tuple[CostRow, ...]:
        """Returns rows by `"layer"`, `"kind"`, `"operation"` (the primitive) or `"equation"`, in program order.

        Raises:
          ValueError: `by` is none of these.
        """
        return rows_by(by, self._program, self._traffic)

    def groups(self, by: By) -> dict[str, list[int]]:
        """Returns the indices in `operations` of the members of each row; raises the same errors as `by`."""
        return groups_by(by, self._program)

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
        return summarize(deployed(self._program, dtype))

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the program's floating-point arrays."""
        found = dict.fromkeys(value.dtype for value in self._program.values if is_floating(value.dtype))
        return tuple(dtype.name for dtype in found)

    @property
    def while_loops(self) -> tuple[str, ...]:
        """Paths of the layers with `while` loops, the keys of `trip_counts`."""
        return tuple(dict.fromkeys("/".join(path) for path in self._program.while_loops))

    @property
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
        return self.total.is_lower_bound or bool(self.unknown_trips)

    def table(self, by: By = "layer") -> Table:
        """Rows and total as a table, for Rich to print in 80 columns or more.

        Args:
          by: how to group the rows.
        """
        return _text.table(by, self.by(by), self.total, is_lower_bound=self.is_lower_bound)

    def notes(self) -> list[str]:
        """Explains how the cost was counted and what is unknown; one paragraph per string."""
        padding = "including" if self.conventions.count_padding else "excluding"
        found = [
            f"mult-adds: multiply-accumulates, {padding} padding. FLOPs: 2 per mult-add, and element-wise "
            "work and reductions on floating-point numbers. Bytes: of activations, each array once; FLOP/B: per byte "
            "of the minimum traffic, with each parameter read once.",
        ]
        ratio = self.backward_to_forward
        if ratio:
            found.append(f"The backward pass has {ratio:.2f} times the mult-adds of the forward pass.")
        counts, one = self.total.counts, self.total.per_device
        if counts.transcendentals or counts.integer_operations:
            found.append(
                f"Not in the FLOPs: {short_number(counts.transcendentals)} transcendental functions, and "
                f"{short_number(counts.integer_operations)} operations on integers."
            )
        if one != counts:
            found.append(
                f"One device does {short_number(one.macs)} of the mult-adds and {short_number(one.flops)} of the FLOPs."
            )
        return [*found, *self._unknowns()]

    def _unknowns(self) -> list[str]:
        found = []
        for conditional in self.conditionals:
            costs = ", ".join(
                ("≥ " if is_lower_bound else "") + short_number(branch.flops)
                for branch, is_lower_bound in zip(conditional.branches, conditional.are_lower_bounds, strict=True)
            )
            place = "/".join(conditional.path) or "no layer"
            found.append(f"Conditional in {place}: branches of {costs} FLOPs; the most expensive one is counted.")
        if self.unknown_trips:
            places = ", ".join(path or "no layer" for path in dict.fromkeys(self.unknown_trips))
            found.append(
                f"Lower bound: `while` in {places} is counted as one iteration; set the number with `trip_counts` "
                "(`--trip-counts`)."
            )
        if self.total.unknown:
            names = ", ".join(f"{name} ({times}×)" for name, times in self.total.unknown.items())
            found.append(f"Lower bound: no rule for {names}; add one with `jds.cost.register`.")
        if self.unused_parameters:
            found.append(f"{short_number(self.unused_parameters)} parameters are not used.")
        return found

    def to_dict(self, estimate: Estimate | None = None) -> dict[str, Any]:
        """Returns everything as a dictionary that `json` can write.

        Args:
          estimate: lower bounds on the same program's time.

        Returns:
          `"schema"`: name and version of the schema. `"conventions"`: the attribute. `"total"`, and lists under
          `"layer"`, `"kind"` and `"operation"`: rows with the fields of `jds.cost.CostRow`, of which `counts`,
          `backward` and `per_device` have the fields of `jds.cost.Counts`. `"is_lower_bound"`, `"conditionals"`,
          `"unknown_trips"` and `"unused_parameters"`: the attributes. `"estimate"`: `jds.cost.Estimate.to_dict()`, or
          None.
        """
        return {
            "schema": SCHEMA,
            "jax": jax.__version__,
            "conventions": self.conventions._asdict(),
            "is_lower_bound": self.is_lower_bound,
            "total": _data.as_dict(self.total),
            "layer": [_data.as_dict(row) for row in self.by("layer")],
            "kind": [_data.as_dict(row) for row in self.by("kind")],
            "operation": [_data.as_dict(row) for row in self.by("operation")],
            "conditionals": [
                {
                    "path": "/".join(conditional.path),
                    "branches": [branch._asdict() for branch in conditional.branches],
                    "are_lower_bounds": list(conditional.are_lower_bounds),
                    "counted": conditional.counted,
                }
                for conditional in self.conditionals
            ],
            "unknown_trips": list(self.unknown_trips),
            "unused_parameters": self.unused_parameters,
            "estimate": None if estimate is None else estimate.to_dict(),
        }

    def to_csv(self, by: By = "layer", estimate: Estimate | None = None) -> str:
        """Returns the rows as CSV, with a header line.

        Args:
          by: how to group the rows.
          estimate: lower bounds for the same rows; adds them and any measured times, in seconds.
        """
        return _data.as_csv(_data.columns(self.by(by), self.total, estimate))

    def to_dataframe(self, by: By = "layer", estimate: Estimate | None = None) -> Any:
        """Returns the rows as a `pandas.DataFrame`, indexed by the rows' names.

        Args:
          by: how to group the rows.
          estimate: lower bounds for the same rows; adds them and any measured times, in seconds.

        Raises:
          ImportError: pandas is not installed.
        """
        return _data.as_dataframe(_data.columns(self.by(by), self.total, estimate))

    def to_html(self, title: str = "", by: By = "layer", estimate: Estimate | None = None) -> str:
        """Returns a self-contained HTML page: a sortable table with bars, and a roofline.

        Args:
          title: title of the page.
          by: how to group the rows.
          estimate: lower bounds for the same rows; adds the bounds, any measured times, and the device's roofline.

        Returns:
          The text of the page, which declares UTF-8 as its encoding.
        """
        return _page.page(title, by, self.by(by), self.total, self.notes(), estimate)

    def plot(self, path: Path, title: str = "", estimate: Estimate | None = None) -> None:
        """Plots the multiply-adds and the minimum traffic of each layer.

        Args:
          path: the file to write; its suffix selects the format, such as `.png`, `.svg` or `.pdf`.
          title: title of the figure.
          estimate: lower bounds by layer; adds the bounds, any measured times, and the device's roofline.
        """
        # Imported here, because Matplotlib is slower to import than jds.
        from jds.cost import _plot

        _plot.plot(path, title, self.by("layer"), estimate)

    def __rich__(self) -> RenderableType:
        return Group(self.table(), "", *self.notes())

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return _page.fragment("layer", self.by("layer"), self.total, self.notes())


def summarize(program: Program) -> Analysis:
    """Summarizes a program."""
    traffic = least_traffic(program)
    total = total_row(program, traffic)
    return Analysis(
        total=total,
        conventions=program.conventions,
        conditionals=tuple(program.conditionals),
        unknown_trips=tuple("/".join(path) for path in program.unknown_trips),
        unused_parameters=total.parameters - used_parameters(program),
        _program=program,
        _traffic=traffic,
    )
