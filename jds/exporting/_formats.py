"""The formats, by the ending of the path, and what the modules that write them have in common."""

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from jds.exporting._description import Description
from jds.exporting._options import Options
from jds.exporting._prepare import Prepared


@dataclasses.dataclass(frozen=True)
class Converted:
    """A converted program.

    Attributes:
      content: the file; or, for a folder, its files by their paths in it.
      format: the format, with its version.
      layers: number of operations, by kind, the most frequent first.
      inputs, outputs: shape and dtype of each input and output.
      packages: names of the packages that wrote it.
      notes: what else the caller should know.
    """

    content: bytes | Mapping[str, bytes]
    format: str
    layers: Mapping[str, int]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    packages: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Session(NamedTuple):
    """An exported file in its runtime.

    Attributes:
      runtime: the runtime and its version.
      description: what is stored in the file, or None.
      run: computes the results of arrays that are laid out as in the file.
    """

    runtime: str
    description: Description | None
    run: Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class Format(Protocol):
    """The public functions of a module that writes a format."""

    def convert(self, prepared: Prepared, options: Options) -> Converted:
        """Converts a program.

        Raises:
          NotImplementedError: an operation has no form in the format.
        """
        ...

    def open(self, content: bytes) -> Session:
        """Opens a file in its runtime.

        Raises:
          ModuleNotFoundError: the runtime is not installed.
        """
        ...


# For each ending of the path: the module, the extra of jds that installs what it needs, and its name in sentences.
_FORMATS = {
    ".onnx": ("jds.exporting.onnx", "onnx", "ONNX"),
}
ENDINGS = tuple(_FORMATS)


def format_of(path: Path) -> Format:
    """Returns the module that writes this path.

    Raises:
      ValueError: the ending is unknown.
      ImportError: a package is not installed; the message says how to install it.
    """
    if path.suffix not in _FORMATS:
        raise ValueError(f"export: `path` must end in {', '.join(ENDINGS)}, got {str(path)!r}")
    module, extra, name = _FORMATS[path.suffix]
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "jds").partition(".")[0] == "jds":
            raise
        raise ImportError(
            f"export: writing {name} needs the package `{error.name}`: pip install 'jds[{extra}]'"
        ) from error
    return found
