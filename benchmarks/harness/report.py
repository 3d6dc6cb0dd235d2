"""What a benchmark prints."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console, RenderableType
from rich.table import Table

from benchmarks.harness import record
from benchmarks.harness.contest import Case, Result
from benchmarks.harness.targets import Target

# Width of the tables: a narrower terminal wraps them, but a file or a pipe does not.
WIDTH = 120
AS_IT_IS = "the system's allocator"


def network_table(result: Result) -> Table:
    """One row per contender, the fastest first."""
    title = f"{result.case.name}, {result.allocator or AS_IT_IS}; × = time of {result.label(result.first)} / this"
    table = Table(title=title, title_justify="left")
    table.add_column("contender", no_wrap=True)
    columns = ("ms", "×", "compile s", "MiB imported", "MiB peak", "page faults", "cores")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, measured in sorted(result.measured.items(), key=lambda item: item[1].seconds.median):
        ratio = None if name == result.first else result.ratio(result.first, name)
        compiles = sorted(measured.compile_seconds)
        table.add_row(
            result.label(name),
            f"{measured.seconds.median * 1e3:.3g} ±{measured.seconds.half_width * 1e3:.2g}",
            "" if ratio is None else f"{ratio.median:.3f} ({ratio.low:.3f}–{ratio.high:.3f})",
            f"{compiles[len(compiles) // 2]:.1f}",
            f"{measured.memory['imported']:.0f}",
            f"{measured.memory['running']:.0f}",
            f"{measured.middle('page_faults'):.0f}",
            f"{measured.middle('cores'):.1f}",
        )
    return table


def layer_table(title: str, results: Sequence[Result]) -> Table:
    """One row per layer: milliseconds and, in parentheses, the ratio of the first contender's time to this one."""
    names = list(dict.fromkeys(name for result in results for name in result.measured))
    table = Table("layer", "batch", title=f"{title}: ms (jds / this)", title_justify="left")
    for name in names:
        table.add_column(next(result.label(name) for result in results if name in result.measured), justify="right")
    for result in results:
        cells = []
        for name in names:
            measured = result.measured.get(name)
            ratio = None if name == result.first else result.ratio(result.first, name)
            cell = "" if measured is None else f"{measured.seconds.median * 1e3:.3g}"
            cells.append(cell + ("" if ratio is None else f" ({ratio.median:.2f})"))
        table.add_row(result.case.spec["workload"]["name"], str(result.case.spec["batch"]), *cells)
    return table


def cost_table(results: Sequence[Result]) -> Table:
    """Compile time and peak memory of each contender over all cases."""
    table = Table("contender", title="all cases", title_justify="left")
    for column in ("compile s", "MiB imported", "MiB peak", "cores"):
        table.add_column(column, justify="right")
    labels = {contender.name: contender.label for result in results for contender in result.case.contenders}
    for name, label in labels.items():
        mine = [result.measured[name] for result in results if name in result.measured]
        table.add_row(
            label,
            f"{sum(sum(measured.compile_seconds) for measured in mine):.1f}",
            f"{mine[0].memory['imported']:.0f}",
            f"{max(measured.memory['running'] for measured in mine):.0f}",
            f"{sum(measured.middle('cores') for measured in mine) / len(mine):.1f}",
        )
    return table


def announce(cases: Sequence[Case], rounds: int, seconds: float, out: Path) -> None:
    """Prints, before the first case, how long the run will take and which record it will replace."""
    turns = sum(len(case.contenders) for case in cases) * (rounds + 1)
    place = f"{out}, which exists, will be replaced" if out.exists() else f"{out} will be written"
    print(
        f"{len(cases)} cases: the turns take {turns * seconds / 60:.1f} minutes; starting and compiling come on top.",
        f"At the end {place}.",
        file=sys.stderr,
        flush=True,
    )


def publish(
    out: Path,
    content: dict[str, Any],
    pictures: dict[Path, Figure],
    printed: Sequence[RenderableType],
    targets: Sequence[Target],
    notes: Sequence[str],
) -> None:
    """Writes the record and the pictures, and prints the rest."""
    record.write(out, content)
    for path, figure in pictures.items():
        record.draw(path, figure)
    console = Console()
    console.width = max(console.width, WIDTH)
    for item in printed:
        console.print(item)
    for line in (*map(str, targets), *notes):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print("written:", ", ".join(str(path) for path in (out, *pictures)), highlight=False, soft_wrap=True)
