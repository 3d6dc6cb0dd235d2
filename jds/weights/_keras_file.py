"""Reads Keras files: `.weights.h5`, `.keras`, and `.h5` from `keras.applications` or `model.save`.

Only names, shapes and dtypes are read at first; the arrays are read once they are known to match the network.
"""

import contextlib
import functools
import io
import math
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np

from jds.weights._errors import WeightsError, printable
from jds.weights._found import Layer
from jds.weights._lazy import LazyArray

# Limits on the number of groups and arrays of a file, and on how deeply they are nested.
_MAX_LINKS, _MAX_DEPTH = 100_000, 40
_IN_ARCHIVE = "model.weights.h5"
# How Keras writes a layer's index among the layers of its class: `layers/conv2d_3`.
_PLACE = re.compile(r"(?:layers|_layer_checkpoint_dependencies)/([^/]+?)(?:_(\d+))?(?=/)")
_h5py: Any = h5py  # type checkers cannot see its compiled parts


def read(path: Path) -> list[Layer]:
    """Finds all layers of a file; their values are read lazily.

    Raises:
      WeightsError: the file is not a valid Keras weights file.
      OSError: the file cannot be read.
    """
    with open(path, "rb"):  # for a missing file, h5py would raise another type of error
        pass
    try:
        with _opened(path) as file:
            groups = _groups(file)
            group: Any = file.get("model_weights", file)
            layers = _current(path, groups) if _strings(group, "layer_names") is None else _legacy(path, group)
            return [layer for layer in layers if layer.arrays]
    except (
        OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, EOFError, NotImplementedError,
        zipfile.BadZipFile, RecursionError,
    ) as error:  # fmt: skip
        raise WeightsError(f"{path} is not a valid Keras weights file: {printable(str(error))}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens the HDF5 file, which a `.keras` file contains as a member of a zip archive."""
    with contextlib.ExitStack() as stack:
        source: Any = path
        if path.suffix == ".keras":
            archive = stack.enter_context(zipfile.ZipFile(path))
            info = archive.getinfo(_IN_ARCHIVE)
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"its {_IN_ARCHIVE} is compressed, which Keras never does")
            archive.open(info).close()  # checks that the member's two headers agree
            source = stack.enter_context(_Member(path, info))
        yield stack.enter_context(h5py.File(source, "r"))


class _Member(io.RawIOBase):
    """An uncompressed member of a zip archive, read as a part of the archive's file."""

    def __init__(self, path: Path, info: zipfile.ZipInfo):
        self._file = open(path, "rb")  # noqa: SIM115
        self._file.seek(info.header_offset + 26)
        lengths = self._file.read(4)
        self._start = info.header_offset + 30 + sum(int.from_bytes(lengths[i : i + 2], "little") for i in (0, 2))
        self._size, self._place = min(info.file_size, os.path.getsize(path) - self._start), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._place)
        count = self._file.readinto(memoryview(buffer)[: max(0, self._size - self._place)])
        self._place += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _groups(file: Any) -> list[tuple[str, Any]]:
    """Returns all groups and their paths.

    Raises:
      ValueError: the file links to other files, contains cycles, or has more entries than a network needs.
    """
    found, seen = [("", file)], set()
    for path, group in found:  # the list grows during iteration
        if path.count("/") > _MAX_DEPTH:
            raise ValueError(f"its groups are nested more than {_MAX_DEPTH} levels deep")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name!r} is a link, and only data in the file itself is read")
            item = group[name]
            address = _h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) == _MAX_LINKS:
                raise ValueError(f"{name!r} occurs twice, or there are more than {_MAX_LINKS} entries")
            seen.add(address)
            if isinstance(item, h5py.Group):
                found.append((f"{path}/{name}", item))
    return found


def _strings(group: Any, name: str) -> list[str] | None:
    """Returns a list attribute of a group, which Keras splits if it is too long, or None if it does not exist."""
    parts = [name] if name in group.attrs else []
    while parts[:1] != [name] and f"{name}{len(parts)}" in group.attrs:
        parts.append(f"{name}{len(parts)}")
    return [_text(value) for part in parts for value in group.attrs[part]] if parts else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _array(path: Path, item: Any) -> LazyArray:
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{item.name!r} is not an array")
    if item.external or item.is_virtual:
        raise ValueError(f"{item.name!r} is in another file, and only data in the file itself is read")
    if item.id.get_create_plist().get_nfilters() or item.shape is None:
        raise ValueError(f"{item.name!r} is compressed or empty; `h5repack -f NONE` writes the file as Keras does")
    is_bfloat16 = item.dtype.kind == "V" and item.dtype.itemsize == 2 and item.dtype.names is None
    dtype = np.dtype(ml_dtypes.bfloat16) if is_bfloat16 else item.dtype
    # A chunk is read as a whole, and may be far larger than its array.
    if item.chunks and math.prod(item.chunks) > 2 * max(1, math.prod(item.shape)) + 2**20:
        raise ValueError(f"{item.name!r} has chunks larger than the array")
    return LazyArray(item.shape, dtype, functools.partial(_load, path, str(item.name), dtype))


def _load(path: Path, name: str, dtype: np.dtype) -> np.ndarray:
    with _opened(path) as file:
        array = np.asarray(file[name])
    return array if array.dtype == dtype else array.view(dtype)


def _legacy(path: Path, group: Any) -> Iterator[Layer]:
    for name in _strings(group, "layer_names") or ():
        layer = group[name]
        parts: dict[str, list[LazyArray]] = {}
        weights = _strings(layer, "weight_names") or []
        for weight in weights:
            parts.setdefault(weight.rpartition("/")[0], []).append(_array(path, layer[weight]))
        # A network that is a layer of another network lists the names of its layers in an attribute.
        if len(parts) > 1:
            yield from (Layer(part, arrays) for part, arrays in parts.items())
        else:
            yield Layer(name, next(iter(parts.values()), []))


def _current(path: Path, groups: list[tuple[str, Any]]) -> Iterator[Layer]:
    for at, group in groups:
        place = tuple((kind, int(number or 0)) for kind, number in _PLACE.findall(at))
        if place and at.endswith("/vars") and not at.startswith("/optimizer"):
            name = _text(group.attrs.get("name", at.split("/")[-2]))
            yield Layer(name, [_array(path, group[str(number)]) for number in range(len(group))], place)
