"""Plots an analysis: the arithmetic, traffic and time of each layer or stage, and a roofline."""

import collections
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from jds._common.text import Number
from jds.cost._analysis import Analysis
from jds.cost._bounds import Bound, Estimate, microseconds
from jds.cost._columns import NO_LAYER
from jds.cost._grouping import OTHERS, Grouping, kind_of
from jds.cost._palette import KIND_COLORS, OTHER, color, family
from jds.cost._roofline import Roofline, roofline
from jds.cost._rows import CostRow, RowGroup
from jds.cost.figures._labels import write_labels
from jds.cost.figures._saving import save

_BARS_AT_MOST = 64
_LABELS = 6
# Heights of the roofline and of a line of text, in inches.
_ROOFLINE_HEIGHT, _LINE_HEIGHT = 4.5, 0.2

# What is drawn: for each kind, a number.
Parts = Mapping[str, Number]


class Bar(NamedTuple):
    """A layer, or several layers together.

    Attributes:
      name: its path.
      macs: multiply-accumulates.
      traffic: the minimum traffic of its layers, in bytes.
      seconds: the times that its layers would need alone.
      measured: the measured time of those of its layers that have one; None if none has.
      layers, without_time: numbers of its layers, and of those without a measured time.
    """

    name: str
    macs: Parts
    traffic: Parts
    seconds: Parts
    measured: Number | None
    layers: int
    without_time: int


def plot_analysis(path: str | Path, analysis: Analysis, estimate: Estimate | None = None) -> None:
    """Plots the multiply-accumulates and the minimum traffic of each layer, or of each stage if there are many layers.

    Args:
      path: the file to write; its suffix selects the format.
      analysis: the cost of a program.
      estimate: times of its layers; adds them, any measured times, and the device's roofline.
    """
    drawn = bars(analysis, estimate)
    figure = _draw(analysis, drawn, estimate)
    save(figure, path)


def bars(analysis: Analysis, estimate: Estimate | None = None) -> list[Bar]:
    """Returns what is drawn: the layers, at the greatest depth at which there are few enough of them.

    Args:
      analysis: the cost of a program.
      estimate: times of its layers.
    """
    groups = _groups(analysis)
    if len(groups) > _BARS_AT_MOST:
        largest = {group.row.name for group in sorted(groups, key=_size)[: _BARS_AT_MOST - 1]}
        rest = [number for group in groups if group.row.name not in largest for number in group.operations]
        groups = [group for group in groups if group.row.name in largest]
        groups.append(RowGroup(analysis.total._replace(name=OTHERS), tuple(rest)))
    layers = {row.name: row for row in analysis.by("layer")}
    bounds = {bound.name: bound for bound in estimate.rows} if estimate else {}
    return [_bar(analysis, group, layers, bounds) for group in groups]


def _groups(analysis: Analysis) -> Sequence[RowGroup]:
    """Returns all layers or, if they are too many, the stages at the greatest depth at which they are not."""
    found = analysis.groups()
    depth = max((len(operation.path) for operation in analysis.operations), default=1)
    while len(found) > _BARS_AT_MOST and depth > 1:
        depth -= 1
        found = analysis.groups(Grouping("layer", depth))
    return found


def _size(group: RowGroup) -> tuple[int, int]:
    return -group.row.macs, -group.row.traffic


def _bar(analysis: Analysis, group: RowGroup, layers: Mapping[str, CostRow], bounds: Mapping[str, Bound]) -> Bar:
    macs, traffic = collections.Counter[str](), collections.Counter[str]()
    for number in group.operations:
        operation = analysis.operations[number]
        macs[family(kind_of(operation))] += operation.counts.macs
    names = {"/".join(analysis.operations[number].path) for number in group.operations}
    seconds = collections.defaultdict[str, float](float)
    for name in names:
        kind = family(layers[name].kind)
        traffic[kind] += layers[name].traffic
        seconds[kind] += bounds[name].seconds if name in bounds else 0.0
    measured = [bounds[name].measured for name in names if name in bounds]
    times = [time for time in measured if time is not None]
    total = sum(times) if times else None
    return Bar(group.row.name or NO_LAYER, macs, traffic, seconds, total, len(names), len(names) - len(times))


def _draw(analysis: Analysis, drawn: Sequence[Bar], estimate: Estimate | None) -> Figure:
    panels: list[tuple[str, list[Parts], Number]] = [
        ("multiply-adds, millions", [bar.macs for bar in drawn], 1e6),
        ("minimum traffic of the layers, MB", [bar.traffic for bar in drawn], 1e6),
    ]
    if estimate is not None:
        panels.append((_time_label(estimate), [bar.seconds for bar in drawn], 1e-6))
    words = _notes(drawn, estimate)
    height = 1.4 + 0.24 * len(drawn) + _LINE_HEIGHT * len(words)
    heights = [height, *([_ROOFLINE_HEIGHT] if estimate else [])]
    figure = Figure(figsize=(3 + 3 * len(panels), sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    all_axes = parts[0].subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (label, values, unit) in zip(all_axes, panels, strict=True):
        _draw_bars(axes, label, values, unit)
    all_axes[0].set_yticks(range(len(drawn)), [bar.name for bar in drawn])
    all_axes[0].set_ylim(len(drawn) - 0.4, -0.6)
    parts[0].legend(handles=_legend(drawn), loc="outside upper left", ncols=7, frameon=False)
    if words:
        parts[0].supxlabel("\n".join(words), x=0.01, ha="left", fontsize=9, color="0.3")
    figure.suptitle(analysis.name, x=0.01, ha="left", fontsize=12, fontweight="bold")
    if estimate is not None:
        _mark_measured(all_axes[-1], drawn)
        _draw_roofline(parts[1], roofline(analysis, Grouping(), estimate))
    return figure


def _time_label(estimate: Estimate) -> str:
    line = "; line: measured" if estimate.total.measured is not None else ""
    return f"µs alone{line}\n{textwrap.fill(estimate.peak.name, 40)}"


def _draw_bars(axes: Axes, label: str, values: Sequence[Parts], unit: Number) -> None:
    left = [0.0] * len(values)
    for kind in (*KIND_COLORS, OTHER):
        widths = [parts.get(kind, 0) / unit for parts in values]
        axes.barh(range(len(values)), widths, left=left, color=color(kind), label=kind)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlabel(label)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _mark_measured(axes: Axes, drawn: Sequence[Bar]) -> None:
    for place, bar in enumerate(drawn):
        if bar.measured is not None:
            axes.plot([bar.measured * 1e6] * 2, [place - 0.4, place + 0.4], color="0.2", linewidth=1.5)
    axes.set_xlim(left=0)


def _notes(drawn: Sequence[Bar], estimate: Estimate | None) -> list[str]:
    """Says what the bars are, and what of the measured time is not in them."""
    layers, found = sum(bar.layers for bar in drawn), []
    if layers > len(drawn):
        found.append(f"{layers} layers in {len(drawn)} bars, each with the sums of its layers.")
    if estimate is None or estimate.total.measured is None:
        return found
    if missing := sum(bar.without_time for bar in drawn):
        found.append(f"{missing} of {layers} layers have no measured time; the lines are the sums of the others.")
    rest = [f"{microseconds(bound.measured or 0.0)} µs {bound.name or NO_LAYER}" for bound in estimate.other_rows]
    return [*found, *([f"Measured, but in no bar: {', '.join(rest)}."] if rest else [])]


def _legend(drawn: Sequence[Bar]) -> list[Patch]:
    there = {kind for bar in drawn for parts in (bar.macs, bar.traffic, bar.seconds) for kind in parts if parts[kind]}
    return [Patch(color=color(kind), label=kind) for kind in (*KIND_COLORS, OTHER) if kind in there]


def _draw_roofline(figure: SubFigure, found: Roofline) -> None:
    """Plots operations per second against operations per byte, below the device's roof."""
    axes, (unit, size) = figure.subplots(), found.unit
    intensities = [found.ridge, *(dot.row.intensity for dot in found.dots)]
    ends = [min(intensities) / 2, found.ridge, max(intensities) * 2]
    axes.loglog(ends, [found.at_most(end) / size for end in ends], color="0.3")
    axes.axvline(found.ridge, color="0.6", linestyle="--", linewidth=1)
    axes.annotate(f" ridge: {found.ridge:.3g} FLOP/B", (found.ridge, 0.02), xycoords=("data", "axes fraction"))
    for is_measured in (False, True):
        dots = [dot for dot in found.dots if dot.is_measured == is_measured]
        places = [dot.row.intensity for dot in dots], [dot.rate / size for dot in dots]
        edges = [color(dot.row.kind) for dot in dots]
        axes.scatter(*places, edgecolors=edges, facecolors=edges if is_measured else "none", alpha=0.7)
    axes.set_xlabel("FLOPs per byte of the minimum traffic")
    axes.set_ylabel(unit)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(textwrap.fill(found.caption(), 150), x=0.01, ha="left", fontsize=9, color="0.3")
    # Last, because the names' places depend on the layout.
    write_labels(
        axes,
        [(dot.row.intensity, dot.rate / size, dot.row.name or NO_LAYER) for dot in found.labeled(_LABELS)],
        [(dot.row.intensity, dot.rate / size) for dot in found.dots],
    )
