"""Plots a sweep: what each cost buys."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jds.cost._palette import KIND_COLORS
from jds.cost._pareto import LABELS_AT_MOST, Panel, label, panels
from jds.cost._sweep import Sweep
from jds.cost.figures._labels import write_labels
from jds.cost.figures._saving import save
from jds.cost.pages import short

_COLOR = KIND_COLORS["pointwise"]


def plot_sweep(path: str | Path, sweep: Sweep) -> None:
    """Plots the points of a sweep by two quantities at a time, with the Pareto fronts.

    Args:
      path: the file to write; its suffix selects the format.
      sweep: the sweep.
    """
    found = panels(sweep)
    rows = -(-len(found) // 2)
    figure = Figure(figsize=(11, 0.8 + 3.8 * rows), layout="constrained")
    all_axes = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axes in all_axes[len(found) :]:
        axes.remove()
    for axes, panel in zip(all_axes, found, strict=False):
        _draw(axes, sweep, panel)
    settings = list(sweep.points[0].settings) if sweep.points else []
    figure.suptitle(f"{sweep.name}: {' × '.join(settings)}", x=0.01, ha="left", fontsize=12, fontweight="bold")
    device = f" {sweep.times}" if sweep.times else ""
    words = f"Labels: {', '.join(settings)}. Peak memory is without parameters and state.{device}"
    figure.supxlabel(words, x=0.01, ha="left", fontsize=9, color="0.3")
    for axes, panel in zip(all_axes, found, strict=False):
        _label(axes, sweep, panel)
    save(figure, path)


def _draw(axes: Axes, sweep: Sweep, panel: Panel) -> None:
    places = [(panel.x.of(point), panel.y.of(point)) for point in sweep.points]
    line = [(panel.x.of(point), panel.y.of(point)) for point in panel.front]
    axes.plot(*zip(*line, strict=True), color=KIND_COLORS["depthwise"], linewidth=1.2)
    faces = [_COLOR if point in panel.front else "none" for point in sweep.points]
    axes.scatter(*zip(*places, strict=True), edgecolors=_COLOR, facecolors=faces, zorder=3)
    axes.set_title(panel.caption, loc="left", fontsize=9, color="0.3")
    axes.set_xlabel(panel.x.name)
    axes.set_ylabel(panel.y.name)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.margins(0.12)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: Axes, sweep: Sweep, panel: Panel) -> None:
    named = sweep.points if len(sweep.points) <= LABELS_AT_MOST else panel.front
    write_labels(
        axes,
        [(panel.x.of(point), panel.y.of(point), label(point)) for point in named],
        [(panel.x.of(point), panel.y.of(point)) for point in sweep.points],
    )
