"""Plots a comparison as a figure for slides."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jds.compare._measure import Comparison

# The Okabe-Ito palette, which is safe for color-blind readers: https://jfly.uni-koeln.de/color/.
_SERIES = (
    ("xla_grouped", "measured time, XLA's grouped convolution", "#D55E00", "s"),
    ("jds", "measured time, jds", "#0072B2", "o"),
)


def plot(comparison: Comparison, path: Path) -> None:
    """Plots the ratio in theory and in measured time, for each layer and in total.

    Args:
      comparison: counts and times.
      path: the file to write; its suffix selects the format, such as `.png`, `.svg` or `.pdf`.
    """
    rows = comparison.rows
    names = [row.layer.name + ("" if row.layer.separable else " (not split)") for row in rows]
    theory = [float(row.multiplications.ratio) for row in rows]
    if len(rows) > 1:
        names.append("total")
        theory.append(float(comparison.multiplications.ratio))
    figure = Figure(figsize=(10, 2.2 + 0.27 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for form, label, color, marker in _SERIES:
        y, low, median, high = _times(comparison, form)
        bars = [
            [m - at for m, at in zip(median, low, strict=True)],
            [at - m for m, at in zip(median, high, strict=True)],
        ]
        axes.errorbar(median, y, xerr=bars, fmt=marker, color=color, markersize=8, elinewidth=2, label=label)
    axes.plot(theory, range(len(theory)), "|k", markersize=15, markeredgewidth=2.5, label="in theory", zorder=4)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    if len(rows) > 1:
        axes.axhline(len(rows) - 0.5, color="0.8", linewidth=1)
        axes.get_yticklabels()[-1].set_fontweight("bold")
    _style(axes)
    # Break the sentence into two lines.
    finding = comparison.finding.replace(" jds, ", " jds,\n")
    figure.suptitle(finding, x=0.01, ha="left", fontsize=15, fontweight="bold")
    axes.set_title(f"{comparison.title}\n{comparison.setting}", loc="left", fontsize=11, color="0.3")
    handles, labels = axes.get_legend_handles_labels()
    order = [labels.index(label) for label in ("in theory", *(series[1] for series in reversed(_SERIES)))]
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="outside lower left", ncols=3, frameon=False,
        fontsize=11,
    )  # fmt: skip
    figure.savefig(path, dpi=200)


def _times(comparison: Comparison, form: str) -> list[tuple[int | float, ...]]:
    """Returns positions, lower quartiles, medians and upper quartiles of the layers that are split."""
    split = [(y, row.time_ratio(form)) for y, row in enumerate(comparison.rows) if row.layer.separable]
    points = [(y, *ratio) for y, ratio in split]
    if len(comparison.rows) > 1:
        points.append((len(comparison.rows), *[comparison.time_ratio(form)] * 3))
    return list(zip(*points, strict=True))


def _style(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.09), max(high, 1.2))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1, color="0.5", linewidth=1, zorder=0)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=11, length=0, which="both")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("separable / ordinary (1: no saving; lines: interquartile range)", fontsize=11)
