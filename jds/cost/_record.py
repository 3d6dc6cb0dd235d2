"""An analysis as data: JSON with a stated schema, and CSV."""

import csv
import io
from typing import Any

import jax

from jds.cost._analysis import Analysis, By, Row
from jds.cost._devices import Bound, Estimate

SCHEMA = {"name": "jds.cost", "version": 1}


def record(analysis: Analysis, estimate: Estimate | None = None) -> dict[str, Any]:
    """Puts an analysis into a dictionary that `json` can write.

    Args:
      analysis: of a program.
      estimate: of its least times.

    Returns:
      Under `"schema"` its name and version, `"settings"` the conventions, `"total"` and, by `"layer"`, `"kind"` and
      `"operation"`, rows: each with the fields of `jds.cost.Row`, `counts`, `backward` and `per_device` with those of
      `jds.cost.Counts`. Under `"is_lower_bound"` whether more runs than is counted, and in `"choices"`,
      `"unknown_trips"` and `"unused_parameters"` what `jds.cost.Analysis` says. Under `"estimate"`, None without one,
      are the device's peak rates and the bounds, in seconds: `"total"` and `"rows"`, each with the fields of
      `jds.cost.Bound` and the share of the measured time that is bound to be.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> cost.record(cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4))))["total"]["counts"]["macs"]
      512
    """
    return {
        "schema": SCHEMA,
        "jax": jax.__version__,
        "settings": analysis.settings._asdict(),
        "is_lower_bound": analysis.is_lower_bound,
        "total": _row(analysis.total),
        "layer": [_row(row) for row in analysis.by("layer")],
        "kind": [_row(row) for row in analysis.by("kind")],
        "operation": [_row(row) for row in analysis.by("operation")],
        "choices": [
            {
                "path": "/".join(choice.path),
                "branches": [branch._asdict() for branch in choice.branches],
                "counted": choice.counted,
            }
            for choice in analysis.choices
        ],
        "unknown_trips": list(analysis.unknown_trips),
        "unused_parameters": analysis.unused_parameters,
        "estimate": None
        if estimate is None
        else {
            "peak": estimate.peak._asdict(),
            "total": _bound(estimate.total),
            "rows": [_bound(row) for row in estimate.rows],
        },
    }


def comma_separated(analysis: Analysis, by: By = "layer", estimate: Estimate | None = None) -> str:
    """Writes the rows of an analysis as CSV, with a line of headings.

    Args:
      analysis: of a program.
      by: what a row is.
      estimate: by the same, to add the least and the measured times, in seconds.

    Returns:
      The text.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.comma_separated(found, "operation").splitlines()[1].split(",")[:2]
      ['dot_general', 'dense']
    """
    bounds = {row.name: row for row in estimate.rows} if estimate else {}
    headings = [*_flat(analysis.total), *(_timed(estimate.total) if estimate else [])]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, headings, lineterminator="\n")
    writer.writeheader()
    for row in analysis.by(by):
        writer.writerow(_flat(row) | (_timed(bounds[row.name]) if estimate else {}))
    return text.getvalue()


def _timed(bound: Bound) -> dict[str, Any]:
    measured = {"measured_seconds": bound.measured, "share": bound.share}
    return {"least_seconds": bound.seconds, "limit": bound.limit} | measured


def _bound(bound: Bound) -> dict[str, Any]:
    return bound._asdict() | {"share": bound.share}


def _row(row: Row) -> dict[str, Any]:
    return row._asdict() | {name: getattr(row, name)._asdict() for name in ("counts", "backward", "per_device")}


def _flat(row: Row) -> dict[str, Any]:
    fields = _row(row)
    unknown = " ".join(fields.pop("unknown"))
    flat = fields.pop("counts")
    for part in ("backward", "per_device"):
        flat |= {f"{part}_{name}": value for name, value in fields.pop(part).items()}
    return fields | flat | {"unknown": unknown}
