"""What `export` returns."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.text import as_text


@dataclasses.dataclass(frozen=True)
class Check:
    """The comparison of an exported file, in the runtime that will run it, with the function in JAX.

    Attributes:
      runtime: the runtime and its version.
      inputs: what it was run on, in words.
      error: greatest absolute difference of the results, relative to the greatest absolute result.
    """

    runtime: str
    inputs: str
    error: float


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """An exported file.

    Attributes:
      path: the file or folder.
      format: the format, with its version.
      bytes: its size; of a folder, of all files in it.
      layers: number of operations in it, by kind, the most frequent first.
      inputs, outputs: shape and dtype of each input and output, as stored in the file.
      check: the comparison with the function in JAX; None if the runtime is not installed.
      versions: versions of the packages that wrote it.
      notes: what else the caller should know, such as what was not checked.

    Example:
      >>> import tempfile, jax.numpy as jnp, jds
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     report = jds.export(jnp.tanh, f"{folder}/tanh.onnx", jnp.ones((2, 3)))
      >>> report.layers, report.check.error < 1e-6
      ({'Tanh': 1}, True)
    """

    path: Path
    format: str
    bytes: int
    layers: Mapping[str, int]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    check: Check | None
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row("file", f"{self.path}, {self.bytes / 1e6:.2f} MB, {self.format}")
        for kind in ("inputs", "outputs"):
            values = getattr(self, kind)
            table.add_row(kind, ", ".join(f"{name} {what}" for name, what in values.items()))
        table.add_row("layers", ", ".join(f"{count} {kind}" for kind, count in self.layers.items()))
        if self.check is not None:
            table.add_row("error", f"{self.check.error:.1e} in {self.check.runtime}, on {self.check.inputs}")
        table.add_row("written by", ", ".join(f"{name} {version}" for name, version in self.versions.items()))
        return Group(table, *self.notes)

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return str(self)
