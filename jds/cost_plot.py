"""An analysis as a figure: what each layer computes, moves and, on a device, takes at least."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jds.cost import Analysis, Estimate, Row

# Okabe and Ito's colours, which the colour-blind can tell apart: https://jfly.uni-koeln.de/color/.
_COLOURS = {
    "ordinary": "#000000",
    "grouped": "#CC79A7",
    "depthwise": "#D55E00",
    "pointwise": "#0072B2",
    "dense": "#009E73",
    "attention": "#E69F00",
}
_ELSE = "0.6"
_NAMES_AT_MOST = 60


def plot(title: str, analysis: Analysis, path: Path, estimate: Estimate | None = None) -> None:
    """Draws multiply-adds and least traffic of each layer that multiplies, and of all else together.

    Args:
      title: above the figure.
      analysis: of a program.
      path: where to write; its suffix says the format, such as `.png`, `.svg` or `.pdf`.
      estimate: by layer, to draw the least time as well.
    """
    rows = analysis.by("layer")
    drawn = sorted((row for row in rows if row.macs), key=lambda row: -row.macs)[:_NAMES_AT_MOST]
    drawn = [row for row in rows if row in drawn]
    rest = [row for row in rows if row not in drawn]
    names = [*(row.name or "(no layer)" for row in drawn), *(["all else"] if rest else [])]
    colours = [*(_COLOURS.get(row.kind, _ELSE) for row in drawn), *([_ELSE] if rest else [])]
    panels = [
        ("multiply-adds, millions", [row.macs / 1e6 for row in drawn], sum(row.macs for row in rest) / 1e6),
        ("least traffic, MB", [row.traffic / 1e6 for row in drawn], sum(row.traffic for row in rest) / 1e6),
    ]
    if estimate is not None:
        micros = {bound.name: bound.seconds * 1e6 for bound in estimate.rows}
        label = f"least time, µs\n{estimate.peak.name}"
        panels.append((label, [micros[row.name] for row in drawn], sum(micros[row.name] for row in rest)))
    figure = Figure(figsize=(2.5 + 3 * len(panels), 1.6 + 0.24 * len(names)), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (label, values, of_rest) in zip(all_axes, panels, strict=True):
        axes.barh(range(len(names)), [*values, *([of_rest] if rest else [])], color=colours)
        _style(axes, label)
    all_axes[0].set_yticks(range(len(names)), names)
    all_axes[0].set_ylim(len(names) - 0.4, -0.6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.legend(handles=_legend(drawn, bool(rest)), loc="outside lower left", ncols=6, frameon=False)
    figure.savefig(path, dpi=150)


def _style(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _legend(rows: list[Row], has_rest: bool) -> list[Patch]:
    kinds = [kind for kind in _COLOURS if any(row.kind == kind for row in rows)]
    found = [Patch(color=_COLOURS[kind], label=kind) for kind in kinds]
    return [*found, Patch(color=_ELSE, label="element-wise and the like")] if has_rest else found
