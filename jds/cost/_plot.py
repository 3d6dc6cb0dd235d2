"""Plots an analysis: the arithmetic, traffic and lower bound on time of each layer, and a roofline."""

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jds.cost._bounds import Bound, Estimate
from jds.cost._rows import CostRow

# The Okabe-Ito palette, which is safe for color-blind readers: https://jfly.uni-koeln.de/color/.
_COLORS = {
    "ordinary": "#000000",
    "grouped": "#CC79A7",
    "depthwise": "#D55E00",
    "pointwise": "#0072B2",
    "dense": "#009E73",
    "batched": "#E69F00",
}
_OTHER = "0.6"
_NAMES_AT_MOST = 60


def plot(path: Path, title: str, rows: Sequence[CostRow], estimate: Estimate | None = None) -> None:
    """Plots the multiply-adds and the minimum traffic of each layer that multiplies, and of all others combined.

    Args:
      path: the file to write; its suffix selects the format.
      title: title of the figure.
      rows: the rows, by layer.
      estimate: lower bounds for the same rows; adds the bounds, any measured times, and the device's roofline.
    """
    drawn = sorted((row for row in rows if row.macs), key=lambda row: -row.macs)[:_NAMES_AT_MOST]
    drawn = [row for row in rows if row in drawn]
    rest = [row for row in rows if row not in drawn]
    names = [*(row.name or "(no layer)" for row in drawn), *(["all others"] if rest else [])]
    colors = [*(_COLORS.get(row.kind, _OTHER) for row in drawn), *([_OTHER] if rest else [])]
    panels = [
        ("multiply-adds, millions", [row.macs / 1e6 for row in drawn], sum(row.macs for row in rest) / 1e6),
        ("minimum traffic, MB", [row.traffic / 1e6 for row in drawn], sum(row.traffic for row in rest) / 1e6),
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
        axes.barh(range(len(names)), [*values, *([of_rest] if rest else [])], color=colors)
        _style(axes, label)
    if estimate is not None and estimate.total.measured is not None:
        _mark_measured(all_axes[-1], estimate, drawn)
    all_axes[0].set_yticks(range(len(names)), names)
    all_axes[0].set_ylim(len(names) - 0.4, -0.6)
    if estimate is not None:
        _draw_roofline(below[0].subplots(), estimate, drawn)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    bars.legend(handles=_legend(drawn, bool(rest)), loc="outside lower left", ncols=6, frameon=False)
    figure.savefig(path, dpi=150)


def _times(estimate: Estimate, drawn: list[CostRow], rest: list[CostRow]) -> tuple[str, list[float], float]:
    micros = {bound.name: bound.seconds * 1e6 for bound in estimate.rows}
    measured = "; line: measured" if estimate.total.measured is not None else ""
    label = f"lower bound on time, µs{measured}\n{estimate.peak.name}"
    return label, [micros[row.name] for row in drawn], sum((micros[row.name] for row in rest), 0.0)


def _mark_measured(axes: Axes, estimate: Estimate, drawn: list[CostRow]) -> None:
    measured = {bound.name: bound.measured for bound in estimate.rows}
    for place, row in enumerate(drawn):
        seconds = measured[row.name]
        if seconds is not None:
            axes.plot([seconds * 1e6] * 2, [place - 0.4, place + 0.4], color="0.3", linewidth=1.5)


def roofline_figure(estimate: Estimate, rows: Sequence[CostRow]) -> str:
    """Draws the roofline of a device with one dot per row, as self-contained HTML.

    Args:
      estimate: lower bounds, and any measured times.
      rows: the rows that the bounds belong to.

    Returns:
      A `<figure>` element with an inline SVG; empty if there is no row to draw.
    """
    bounds = {bound.name: bound for bound in estimate.rows}
    is_measured = any(bound.measured for bound in estimate.rows)
    drawn = [row for row in rows if row.flops and row.traffic]
    if is_measured:
        # A row above the roof reflects caches and XLA's fusion rather than the device.
        drawn = [row for row in drawn if 0 < (bounds[row.name].share or 0) <= 1]
    if not drawn:
        return ""
    # Keep text as text, make the output deterministic, and omit metadata such as the date.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jds"}):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        _draw_roofline(figure.add_subplot(), estimate, drawn)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    # Drop the XML declaration and the document type, which are not allowed inside HTML.
    drawing = file.getvalue()[file.getvalue().index("<svg") :]
    names = {f"row-{i}": _tip(row, bounds[row.name]) for i, row in enumerate(drawn)}
    drawing = re.sub(r'<g id="(row-\d+)">', lambda group: f"{group[0]}<title>{names[group[1]]}</title>", drawing)
    peak = estimate.peak
    return (
        f"<figure>{drawing}<figcaption>"
        f"{'Measured rate of each row' if is_measured else 'Maximum rate of each row'} on {escape(peak.name)} "
        f"({_roof(estimate) / 1e9:.4g} GFLOP/s, {peak.bytes / 1e9:.4g} GB/s): under the slope a row is bound by "
        "memory, "
        "under the flat roof by arithmetic.</figcaption></figure>"
    )


def _tip(row: CostRow, bound: Bound) -> str:
    return f"{escape(row.name)}: {row.intensity:.1f} FLOP/B, {_rate(row, bound) / 1e9:.4g} GFLOP/s"


def _rate(row: CostRow, bound: Bound) -> float:
    """Returns the measured operations per second of a row or, if nothing was measured, the maximum."""
    return row.flops / (bound.measured or bound.seconds)


def _roof(estimate: Estimate) -> float:
    """Returns the highest rate of the arithmetics that a program uses."""
    peak = estimate.peak
    return max(peak.rates[name] for name in estimate.arithmetics or peak.rates)


def _draw_roofline(axes: Axes, estimate: Estimate, rows: Sequence[CostRow]) -> None:
    """Plots operations per second against operations per byte, below the device's roof."""
    peak, bounds = estimate.peak, {bound.name: bound for bound in estimate.rows}
    roof = _roof(estimate)
    ridge = roof / peak.bytes
    intensities = [row.intensity for row in rows if row.traffic]
    ends = [min([*intensities, ridge]) / 2, ridge, max([*intensities, ridge]) * 2]
    axes.loglog(ends, [min(end * peak.bytes, roof) / 1e9 for end in ends], color="0.3")
    for i, row in enumerate(rows):
        if row.traffic:
            color, rate = _COLORS.get(row.kind, _OTHER), _rate(row, bounds[row.name]) / 1e9
            axes.plot(row.intensity, rate, "o", color=color, alpha=0.7, gid=f"row-{i}")
    axes.set_xlabel("FLOPs per byte of the minimum traffic")
    axes.set_ylabel("GFLOP/s " + ("measured" if estimate.total.measured is not None else "at most"))
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _style(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _legend(rows: Sequence[CostRow], has_rest: bool) -> list[Patch]:
    kinds = [kind for kind in _COLORS if any(row.kind == kind for row in rows)]
    found = [Patch(color=_COLORS[kind], label=kind) for kind in kinds]
    return [*found, Patch(color=_OTHER, label="element-wise and other")] if has_rest else found
