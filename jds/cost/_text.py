"""The rows of an analysis as terminal output."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from jds._common.text import short_number
from jds.cost._rows import By, CostRow


def table(by: By, rows: Sequence[CostRow], total: CostRow, *, is_lower_bound: bool) -> Table:
    """Returns rows and their total as a table, for Rich to print in 80 columns or more."""
    has_backward = any(total.backward)
    lines = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=0)
    lines.add_column(by, overflow="fold")
    for heading in (
        "mult-adds",
        *(["backward"] if has_backward else []),
        "FLOPs",
        "params",
        "bytes in",
        "out",
        "FLOP/B",
    ):
        lines.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        lines.add_row(*_cells(row, has_backward))
    lines.add_section()
    lines.add_row(*_cells(total, has_backward, "≥ " if is_lower_bound else ""))
    return lines


def _cells(row: CostRow, has_backward: bool, bound: str = "") -> list[str]:
    counts = [row.macs, *([row.backward.macs] if has_backward else []), row.flops]
    sizes = [row.parameters, row.bytes_in, row.bytes_out]
    mark = "≥ " if row.is_lower_bound else bound
    return [
        row.name or "(no layer)",
        *(mark + short_number(count) for count in counts),
        *map(short_number, sizes),
        f"{row.intensity:.1f}",
    ]
