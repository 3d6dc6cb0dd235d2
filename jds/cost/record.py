"""An analysis as data: JSON with a stated schema, and CSV."""

import csv
import io
from typing import Any

import jax

from jds.cost.analysis import Analysis, By, Row

SCHEMA = {"name": "jds.cost", "version": 1}


def record(analysis: Analysis) -> dict[str, Any]:
    """Puts an analysis into a dictionary that `json` can write.

    Args:
      analysis: of a program.

    Returns:
      Under `"schema"` its name and version, `"settings"` the conventions, `"total"` and, by `"layer"`, `"kind"` and
      `"operation"`, rows: each with the fields of `jds.cost.Row`, `counts` and `backward` with those of
      `jds.cost.Counts`. Under `"is_lower_bound"` whether more runs than is counted, and in `"choices"`,
      `"unknown_trips"` and `"unused_parameters"` what `jds.cost.Analysis` says.

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
    }


def comma_separated(analysis: Analysis, by: By = "layer") -> str:
    """Writes the rows of an analysis as CSV, with a line of headings.

    Args:
      analysis: of a program.
      by: what a row is.

    Returns:
      The text.
    """
    rows = [_flat(row) for row in analysis.by(by)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(_flat(analysis.total)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(row: Row) -> dict[str, Any]:
    return row._asdict() | {"counts": row.counts._asdict(), "backward": row.backward._asdict()}


def _flat(row: Row) -> dict[str, Any]:
    fields = _row(row)
    counts, backward = fields.pop("counts"), fields.pop("backward")
    unknown = " ".join(fields.pop("unknown"))
    return fields | counts | {f"backward_{name}": value for name, value in backward.items()} | {"unknown": unknown}
