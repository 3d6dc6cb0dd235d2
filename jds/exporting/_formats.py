"""The formats, by the ending of the path, and what the modules that write them have in common."""

import collections
import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jds._common.files import read_files
from jds.exporting._description import Description, Layout
from jds.exporting._layers import Layer
from jds.exporting._options import Options
from jds.exporting._prepare import Prepared

Content = bytes | Mapping[str, bytes]


class Calibration(NamedTuple):
    """How to convert a program to int8.

    Attributes:
      images: photographs, as a network in JAX takes them.
      in_float: the layers that are left in float.
    """

    images: np.ndarray
    in_float: Sequence[Layer]


@dataclasses.dataclass(frozen=True)
class Converted:
    """A converted program.

    Attributes:
      content: the file; or, of a folder, the files by their paths in it, as for `write_folder_atomically`.
      network: the file to run for the comparison, if it is another one.
      format: the format, with its version.
      layers: number of operations, by kind, the most frequent first.
      inputs, outputs: shape and dtype of each input and output.
      packages: names of the packages that wrote it.
      in_float: for int8, number of operations that stayed in float, by kind; None otherwise.
      notes: what else the caller should know.
    """

    content: Content
    format: str
    layers: Mapping[str, int]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    packages: tuple[str, ...]
    in_float: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()
    network: bytes | None = None

    @property
    def file(self) -> bytes:
        """The content of a format that is one file."""
        assert isinstance(self.content, bytes)
        return self.content

    @property
    def files(self) -> Mapping[str, bytes]:
        """The content of a format that is a folder."""
        assert not isinstance(self.content, bytes)
        return self.content


class Session(NamedTuple):
    """An exported file in its runtime.

    Attributes:
      runtime: the runtime and its version.
      description: what is stored in the file, or None.
      run: computes the results of arrays that are laid out as in the file.
      batch: size of the first input's first axis; None if the caller chooses it.
    """

    runtime: str
    description: Description | None
    run: Callable[[Sequence[np.ndarray]], list[np.ndarray]]
    batch: int | None


@runtime_checkable
class Format(Protocol):
    """The public functions of a module that writes a format."""

    def convert(self, prepared: Prepared, options: Options, calibration: Calibration | None) -> Converted:
        """Converts a program; to int8 if there is a calibration.

        Raises:
          NotImplementedError: an operation has no form in the format.
        """
        ...

    def open(self, content: Any) -> Session:
        """Opens the content of a file or folder in its runtime.

        Raises:
          ModuleNotFoundError: the runtime is not installed; without a name, if it does not exist for this system.
        """
        ...


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A row of the table.

    Attributes:
      module: the module that writes the format.
      words: the format in sentences.
      layouts: the layouts that the file can have, the usual one for networks first.
      options: the options that not all formats have.
      can_be_opened: whether such files are evaluated.
    """

    module: str
    words: str
    layouts: tuple[Layout, ...] = ("NHWC",)
    options: tuple[str, ...] = ()
    can_be_opened: bool = True


# Stands for paths without an ending.
_FOLDER = ""
_FORMATS = {
    ".onnx": _Entry("jds.exporting.onnx", "ONNX", ("NCHW", "NHWC"), ("opset", "free batch", "features", "int8")),
    ".tflite": _Entry("jds.exporting.litert", "LiteRT", options=("features", "int8")),
    ".jax": _Entry("jds.exporting.artifact", "`jax.export`", options=("free batch", "features")),
    ".html": _Entry("jds.exporting.page._html", "a page", options=("int8", "runtime"), can_be_opened=False),
    _FOLDER: _Entry("jds.exporting.page", "a page", options=("int8", "runtime"), can_be_opened=False),
    ".mlpackage": _Entry("jds.exporting.coreml", "Core ML", ("NCHW", "NHWC"), ("features",)),
}
# Of the files that can be opened again.
ENDINGS = tuple(ending for ending, entry in _FORMATS.items() if entry.can_be_opened)


def format_of(path: Path) -> Format:
    """Returns the module that writes and opens this path.

    Raises:
      ValueError: the ending is unknown.
      ImportError: a package is not installed; the message says how to install it.
    """
    found: Any = importlib.import_module(_entry(path).module)
    return found


def read_content(path: Path) -> Content:
    """Reads a file, or the files of a folder.

    Raises:
      OSError: it cannot be read.
    """
    return read_files(path) if path.is_dir() else path.read_bytes()


def size_of(content: Content) -> int:
    """Returns the number of bytes of a file or folder."""
    return len(content) if isinstance(content, bytes) else sum(map(len, content.values()))


def counted(kinds: Iterable[str]) -> dict[str, int]:
    """Returns how often each kind occurs, the most frequent first."""
    return dict(collections.Counter(kinds).most_common())


def in_words(dtype: Any, shape: Iterable[Any]) -> str:
    """Returns the dtype and shape of an array as reports show them."""
    return f"{dtype}[{','.join(map(str, shape))}]"


def package_of(error: ModuleNotFoundError) -> str:
    """Returns the package to install for a missing module."""
    return (error.name or "").partition(".")[0].replace("_", "-")


def require(module: str, extra: str, words: str) -> Any:
    """Imports a module of an optional package.

    Raises:
      ImportError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"{words} needs the package `{package_of(error)}`: pip install 'jds[{extra}]'") from error


def fitted(options: Options, path: Path, is_network: bool) -> Options:
    """Returns the options with the layout of the format.

    Raises:
      ValueError: the ending is unknown, or the format does not have one of the options.
    """
    entry = _entry(path)
    layout = options.layout or (entry.layouts[0] if is_network else "NHWC")
    if layout not in entry.layouts:
        raise ValueError(f"export: {entry.words} has the layout {entry.layouts[0]} only, got layout={layout!r}")
    wanted = {
        "opset": options.opset is not None,
        "free batch": options.batch is None,
        "features": options.features,
        "int8": options.int8 is not None,
        "runtime": options.runtime is not None,
    }
    for name, is_wanted in wanted.items():
        if is_wanted and name not in entry.options:
            others = ", ".join(ending or "a folder" for ending, other in _FORMATS.items() if name in other.options)
            shown = "batch=None" if name == "free batch" else f"`{name}`"
            raise ValueError(f"export: {shown} is for {others}, not for {entry.words}")
    return dataclasses.replace(options, layout=layout)


def _entry(path: Path) -> _Entry:
    ending = _FOLDER if path.is_dir() and path.suffix not in _FORMATS else path.suffix
    if ending not in _FORMATS:
        endings = ", ".join(filter(None, _FORMATS))
        raise ValueError(f"export: `path` must end in {endings}, or have no ending for a folder, got {str(path)!r}")
    return _FORMATS[ending]
