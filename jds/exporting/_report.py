"""What `export` returns."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.text import as_text

# Layers shown, of those that lose most by rounding.
_WORST = 5


@dataclasses.dataclass(frozen=True)
class Check:
    """The comparison of an exported file, in the runtime that will run it, with the function in JAX.

    Attributes:
      runtime: the runtime and its version.
      inputs: what it was run on, in words.
      error: greatest absolute difference of the results, relative to the greatest absolute result.
      input_error: on photographs, the same of the inputs: as the file says how to prepare them, and as the model does;
        None otherwise.
      agreement: on photographs, the share with the same first class; None otherwise.
    """

    runtime: str
    inputs: str
    error: float
    input_error: float | None = None
    agreement: float | None = None


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
      rounding: for int8, the signal-to-noise ratio of the results, in dB, with each layer alone rounded; worst first.
      in_float: for int8, number of operations that stayed in float, by kind.
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
    rounding: Mapping[str, float]
    in_float: Mapping[str, int]
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
        table.add_row("layers", _counted(self.layers))
        if self.rounding:
            table.add_row("in float", _counted(self.in_float) or "nothing")
            worst = list(self.rounding.items())[:_WORST]
            rows = [f"{ratio:.1f} dB with {name} alone rounded" for name, ratio in worst]
            table.add_row("rounding", "\n".join(rows))
        if self.check is not None:
            if self.check.input_error is not None:
                table.add_row("input", f"{self.check.input_error:.1e} from the model's, prepared as the file says")
            table.add_row("error", f"{self.check.error:.1e} in {self.check.runtime}, on {self.check.inputs}")
            if self.check.agreement is not None:
                table.add_row("first class", f"the same on {self.check.agreement:.1%} of {self.check.inputs}")
        table.add_row("written by", ", ".join(f"{name} {version}" for name, version in self.versions.items()))
        return Group(table, *self.notes)

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return str(self)


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())
