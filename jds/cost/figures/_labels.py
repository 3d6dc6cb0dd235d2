"""Names next to the dots of a figure."""

from collections.abc import Sequence
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jds._common.text import Number
from jds.cost._labels import place_labels

# In points; a letter is about as wide as this.
_FONT, _LETTER = 8, 4.9


def write_labels(
    axes: Axes, places: Sequence[tuple[Number, Number, str]], dots: Sequence[tuple[Number, Number]]
) -> None:
    """Writes names next to dots where there is room, which fixes the layout of the figure.

    Args:
      axes: the axes of the dots.
      places: values of dots, and their names.
      dots: values of all dots.
    """
    figure = cast(Figure, axes.get_figure(root=True))
    figure.draw_without_rendering()
    points = 72 / figure.dpi

    def place(x: Number, y: Number) -> tuple[Number, Number]:
        right, up = axes.transData.transform((x, y))
        return right * points, -up * points

    box = axes.get_window_extent()
    inside = (box.x0 * points, -box.y1 * points, box.x1 * points, -box.y0 * points)
    named = [(*place(x, y), name) for x, y, name in places]
    for label in place_labels(named, [place(*dot) for dot in dots], inside, _LETTER):
        x, y = label.leader[0] if label.leader else (label.left, label.base)
        axes.annotate(
            label.name,
            (x, -y),
            (label.left, -label.base),
            xycoords="figure points",
            textcoords="figure points",
            fontsize=_FONT,
            arrowprops={"arrowstyle": "-", "color": "0.5", "linewidth": 0.6} if label.leader else None,
        )
