"""The pictures of the benchmarks."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.harness.contest import Result
from benchmarks.harness.report import AS_IT_IS
from benchmarks.harness.roofline import LARGE, Point, copy_speeds, product_speed
from jds import cost

# Okabe and Ito's colors, which the color-blind can tell apart: https://jfly.uni-koeln.de/color/.
BLUE, VERMILLION, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
# The contenders that jds is compared with in the panels of layers.
SERIES = (("torch", BLUE, "o"), ("xla", VERMILLION, "s"), ("ordinary", GREEN, "D"))


def networks(results: Sequence[Result]) -> Figure:
    """One panel per case: the time of each contender, with each allocator."""
    cases = list(dict.fromkeys(result.case.name for result in results))
    figure = Figure(figsize=(10, 0.8 + 2.4 * ((len(cases) + 1) // 2)), layout="constrained")
    panels: list[Axes] = figure.subplots((len(cases) + 1) // 2, min(2, len(cases)), squeeze=False).ravel().tolist()
    for case, axes in zip(cases, panels, strict=False):
        rows = [result for result in results if result.case.name == case]
        names = sorted(rows[0].measured, key=lambda name: rows[0].measured[name].seconds.median)
        for row, color, marker in zip(rows, (BLUE, VERMILLION), "os", strict=False):
            spreads = [cost.Spread(*(at * 1e3 for at in row.measured[name].seconds)) for name in names]
            label = row.allocator or AS_IT_IS
            points(axes, spreads, range(len(names)), label, color, marker)
        axes.set_yticks(range(len(names)), [rows[0].label(name) for name in names])
        axes.get_yticklabels()[names.index(rows[0].first)].set_fontweight("bold")
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(case, loc="left", fontsize=11)
        axes.set_xlabel("milliseconds")
        style(axes)
    for axes in panels[len(cases) :]:
        axes.remove()
    finish(figure, "Milliseconds per call: medians and interquartile ranges", panels[:1])
    return figure


def layers(results: Sequence[Result]) -> Figure:
    """One panel per pass: the time of jds relative to the others', layer by layer."""
    kinds = list(dict.fromkeys(result.case.spec["pass"] for result in results))
    count = max(sum(result.case.spec["pass"] == kind for result in results) for kind in kinds)
    figure = Figure(figsize=(13, 1.5 + 0.24 * count), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for kind, axes in zip(kinds, panels, strict=True):
        rows = [result for result in results if result.case.spec["pass"] == kind]
        for name, color, marker in SERIES:
            found = [(y, ratio) for y, row in enumerate(rows) if (ratio := row.ratio("jds", name))]
            if found:
                label = f"jds / {rows[0].label(name)}"
                points(axes, [ratio for _, ratio in found], [y for y, _ in found], label, color, marker)
        names = [f"{row.case.spec['workload']['name']}, batch {row.case.spec['batch']}" for row in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.axvline(1, color="0.5", linewidth=1, zorder=0)
        axes.set_title(kind, loc="left", fontsize=11)
        style(axes)
    finish(figure, "Time of jds relative to the others', round by round: medians and interquartile ranges", panels)
    return figure


def roofline(found: Sequence[Point], references: Sequence[Result]) -> Figure:
    """Operations per second over operations per byte, under the measured roofs."""
    speeds, product = copy_speeds(references), product_speed(references) / 1e9
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    x = np.geomspace(0.3, 30, 200)
    cached = max(speeds.values())
    for speed, line, label in ((cached, ":", "fastest copy, in a cache"), (speeds[LARGE], "-", "copy in memory")):
        text = f"{label}, {speed / 1e9:.0f} GB/s, and matrix product, {product:.0f} GFLOP/s"
        axes.plot(x, np.minimum(product, x * speed / 1e9), line, color=BLACK, linewidth=1.2, label=text)
    series = dict.fromkeys((point.contender, point.batch) for point in found)
    colors = dict(zip(dict.fromkeys(name for name, _ in series), (BLUE, VERMILLION), strict=False))
    markers = dict(zip(dict.fromkeys(batch for _, batch in series), "os^Dv", strict=False))
    # Layers of the same stride have nearly the same intensity, so the series are drawn side by side.
    for position, (name, batch) in enumerate(series):
        mine = [point for point in found if (point.contender, point.batch) == (name, batch)]
        shift = 1.04 ** (position - (len(series) - 1) / 2)
        axes.plot(
            [point.intensity * shift for point in mine],
            [point.flops / point.seconds / 1e9 for point in mine],
            markers[batch], color=colors[name], markerfacecolor="none", label=f"{name}, batch {batch}",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte that must be read or written", ylabel="GFLOP/s")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(f"Depthwise layers of MobileNet V1, forward\n{setting()}", loc="left", fontsize=12)
    return figure


def points(axes: Axes, spreads: Sequence[cost.Spread], y: Sequence[int], label: str, color: str, marker: str) -> None:
    """Medians, with lines from quartile to quartile."""
    medians = [spread.median for spread in spreads]
    bars = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
    axes.errorbar(medians, y, xerr=bars, fmt=marker, color=color, markersize=6, elinewidth=2, label=label)


def style(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both")
    axes.spines[["top", "right", "left"]].set_visible(False)


def finish(figure: Figure, title: str, panels: Sequence[Axes]) -> None:
    """The title, the machine, and one legend for all panels."""
    figure.suptitle(f"{title}\n{setting()}", x=0.01, ha="left", fontsize=12)
    legend = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(legend.values()), list(legend), loc="outside lower left", ncols=3, frameon=False)


def setting() -> str:
    facts = cost.machine_facts()
    return f"float32, {facts['cpu']}, {facts['cores']} cores, JAX {facts['jax']}"
