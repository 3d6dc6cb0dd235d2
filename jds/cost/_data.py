"""Converts the rows of an analysis to dictionaries, CSV and data frames."""

import csv
import importlib
import io
from collections.abc import Sequence
from typing import Any

from jds.cost._bounds import Bound, Estimate
from jds.cost._rows import CostRow


def as_dict(row: CostRow) -> dict[str, Any]:
    """Returns a row as a dictionary that `json` can write."""
    return row._asdict() | {name: getattr(row, name)._asdict() for name in ("counts", "backward", "per_device")}


def columns(rows: Sequence[CostRow], total: CostRow, estimate: Estimate | None) -> dict[str, list[Any]]:
    """Returns columns by name, with one entry per row; if there are no rows, `total` provides the names."""
    bounds = {bound.name: bound for bound in estimate.rows} if estimate else {}
    names = [*_flat(total), *(_times(estimate.total) if estimate else [])]
    lines = [_flat(row) | (_times(bounds[row.name]) if estimate else {}) for row in rows]
    return {name: [line[name] for line in lines] for name in names}


def as_csv(columns: dict[str, list[Any]]) -> str:
    """Returns columns as CSV, with a header line."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def as_dataframe(columns: dict[str, list[Any]]) -> Any:
    """Returns columns as a `pandas.DataFrame`, indexed by the rows' names.

    Raises:
      ImportError: pandas is not installed.
    """
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("to_dataframe requires pandas: `pip install pandas`") from error
    return pandas.DataFrame(columns).set_index("name")


def _times(bound: Bound) -> dict[str, Any]:
    measured = {"measured_seconds": bound.measured, "share": bound.share}
    return {"least_seconds": bound.seconds, "limit": bound.limit} | measured


def _flat(row: CostRow) -> dict[str, Any]:
    fields = as_dict(row)
    unknown = " ".join(fields.pop("unknown"))
    flat = fields.pop("counts")
    for part in ("backward", "per_device"):
        flat |= {f"{part}_{name}": value for name, value in fields.pop(part).items()}
    return fields | flat | {"unknown": unknown}
