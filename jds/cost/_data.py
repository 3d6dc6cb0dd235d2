"""Converts the rows of an analysis to dictionaries, CSV and data frames."""

import csv
import datetime
import importlib
import importlib.metadata
import io
import json
from collections.abc import Sequence
from fractions import Fraction
from importlib import resources
from typing import TYPE_CHECKING, Any

from jds.cost._bounds import Bound, Estimate
from jds.cost._machine import machine_facts
from jds.cost._rows import CostRow

if TYPE_CHECKING:
    from jds.cost._analysis import Analysis

# The version of all records.
_VERSION = 4


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of what `to_dict` of an analysis, a comparison, a sweep and a largest batch returns.

    Example:
      >>> from jds import cost
      >>> cost.json_schema()["$id"]
      'urn:jds:cost:4'
    """
    return json.loads(resources.files("jds.cost").joinpath("record.schema.json").read_text(encoding="utf-8"))


def record(analysis: "Analysis", estimate: Estimate | None) -> dict[str, Any]:
    """Returns an analysis as a dictionary that `json` can write."""
    return head("jds.cost", analysis.name) | {
        "conventions": analysis.conventions._asdict(),
        "is_lower_bound": analysis.is_lower_bound,
        "total": as_dict(analysis.total),
        **{by: [as_dict(row) for row in analysis.by(by)] for by in ("layer", "fused", "kind", "operation")},
        "memory": analysis.memory.to_dict(),
        "conditionals": [
            {
                "path": "/".join(conditional.path),
                "branches": [branch._asdict() for branch in conditional.branches],
                "are_lower_bounds": list(conditional.are_lower_bounds),
                "counted": conditional.counted,
            }
            for conditional in analysis.conditionals
        ],
        "unknown_trips": list(analysis.unknown_trips),
        "unused_parameters": analysis.unused_parameters,
        "estimate": None if estimate is None else estimate.to_dict(),
    }


def head(schema: str, name: str) -> dict[str, Any]:
    """Returns how each record begins: its schema, the program, and when and with what it was made."""
    return {
        "schema": {"name": schema, "version": _VERSION},
        "name": name,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "jds": jds_version(),
        "machine": machine_facts(),
    }


def as_dict(row: CostRow) -> dict[str, Any]:
    """Returns a row as a dictionary that `json` can write."""
    parts = {name: getattr(row, name)._asdict() for name in ("counts", "backward", "per_device")}
    stride = row.stride and tuple(float(each) if isinstance(each, Fraction) else each for each in row.stride)
    return row._asdict() | parts | {"stride": stride}


def jds_version() -> str | None:
    """Returns the version of jds; None in a source tree that was never installed."""
    try:
        return importlib.metadata.version("jds")
    except importlib.metadata.PackageNotFoundError:
        return None


def columns(rows: Sequence[CostRow], total: CostRow, estimate: Estimate | None) -> dict[str, list[Any]]:
    """Returns columns by name, with one entry per row; if there are no rows, `total` provides the names."""
    bounds = {bound.name: bound for bound in estimate.rows} if estimate else {}
    names = [*_flat(total), *(_times(estimate.total) if estimate else [])]
    lines = [_flat(row) | (_times(bounds[row.name]) if estimate else {}) for row in rows]
    # Only their times are known.
    others = estimate.other_rows if estimate else ()
    lines += [dict.fromkeys(names) | {"name": bound.name} | _times(bound) for bound in others]
    return {name: [line[name] for line in lines] for name in names}


def as_csv(columns: dict[str, list[Any]]) -> str:
    """Returns columns as CSV, with a header line."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def as_dataframe(columns: dict[str, list[Any]], index: str | None = "name") -> Any:
    """Returns columns as a `pandas.DataFrame`, indexed by one of them.

    Raises:
      ImportError: pandas is not installed.
    """
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("to_dataframe requires pandas: `pip install pandas`") from error
    frame = pandas.DataFrame(columns)
    return frame if index is None else frame.set_index(index)


def _times(bound: Bound) -> dict[str, Any]:
    measured = {"measured_seconds": bound.measured, "share": bound.share}
    return {"least_seconds": bound.seconds, "limit": bound.limit} | measured


def _flat(row: CostRow) -> dict[str, Any]:
    fields = as_dict(row)
    unknown = " ".join(fields.pop("unknown"))
    flat = fields.pop("counts")
    for part in ("backward", "per_device"):
        flat |= {f"{part}_{name}": value for name, value in fields.pop(part).items()}
    sizes = {name: _sizes(fields.pop(name)) for name in ("output", "receptive_field", "stride")}
    return fields | flat | {"unknown": unknown} | sizes


def _sizes(sizes: Sequence[Any] | None) -> str:
    return "" if sizes is None else "x".join(map(str, sizes)) or "scalar"
