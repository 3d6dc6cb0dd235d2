"""An analysis as a figure: what each layer computes, moves and, on a device, takes at least; and a roofline."""

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
      estimate: by layer, to draw the least times, the measured ones if it has them, and the device's roofline.
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
        panels.append(_times(estimate, drawn, rest))
    height, width = 1.6 + 0.24 * len(names), 2.5 + 3 * len(panels)
    figure = Figure(figsize=(width, height + (4.5 if estimate else 0)), layout="constrained")
    bars, *below = figure.subfigures(
        2 if estimate else 1, 1, height_ratios=[height, 4.5][: 2 if estimate else 1], squeeze=False
    )[:, 0]
    all_axes = bars.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (label, values, of_rest) in zip(all_axes, panels, strict=True):
        axes.barh(range(len(names)), [*values, *([of_rest] if rest else [])], color=colours)
        _style(axes, label)
    if estimate is not None and estimate.total.measured is not None:
        _mark_measured(all_axes[-1], estimate, drawn)
    all_axes[0].set_yticks(range(len(names)), names)
    all_axes[0].set_ylim(len(names) - 0.4, -0.6)
    if estimate is not None:
        _roofline(below[0].subplots(), estimate, drawn)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    bars.legend(handles=_legend(drawn, bool(rest)), loc="outside lower left", ncols=6, frameon=False)
    figure.savefig(path, dpi=150)


def _times(estimate: Estimate, drawn: list[Row], rest: list[Row]) -> tuple[str, list[float], float]:
    micros = {bound.name: bound.seconds * 1e6 for bound in estimate.rows}
    measured = "; line: measured" if estimate.total.measured is not None else ""
    label = f"least time, µs{measured}\n{estimate.peak.name}"
    return label, [micros[row.name] for row in drawn], sum((micros[row.name] for row in rest), 0.0)


def _mark_measured(axes: Axes, estimate: Estimate, drawn: list[Row]) -> None:
    measured = {bound.name: bound.measured for bound in estimate.rows}
    for place, row in enumerate(drawn):
        seconds = measured[row.name]
        if seconds is not None:
            axes.plot([seconds * 1e6] * 2, [place - 0.4, place + 0.4], color="0.3", linewidth=1.5)


def _roofline(axes: Axes, estimate: Estimate, drawn: list[Row]) -> None:
    """Operations a second that each layer may reach or reaches, by its operations a byte."""
    peak, bounds = estimate.peak, {bound.name: bound for bound in estimate.rows}
    ridge = peak.flops / peak.bytes
    intensities = [row.intensity for row in drawn if row.traffic]
    ends = [min([*intensities, ridge]) / 2, ridge, max([*intensities, ridge]) * 2]
    axes.loglog(ends, [min(end * peak.bytes, peak.flops) / 1e9 for end in ends], color="0.3")
    for row in drawn:
        if row.traffic:
            bound = bounds[row.name]
            seconds = bound.measured or bound.seconds
            axes.plot(row.intensity, row.flops / seconds / 1e9, "o", color=_COLOURS.get(row.kind, _ELSE), alpha=0.7)
    axes.set_xlabel("FLOPs a byte of the least traffic")
    axes.set_ylabel("GFLOP/s " + ("reached" if estimate.total.measured is not None else "at most"))
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


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
