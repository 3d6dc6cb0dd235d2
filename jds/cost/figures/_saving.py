"""Writes figures to files."""

from pathlib import Path

from matplotlib.figure import Figure


def save(figure: Figure, path: str | Path) -> None:
    """Writes a figure in the format of the file's suffix.

    Raises:
      ValueError: the format is unknown.
    """
    formats = figure.canvas.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in formats:
        raise ValueError(f"plot: `path` must end in .png, .svg, .pdf or another format of Matplotlib, got '{path}'")
    figure.savefig(path, dpi=150)
