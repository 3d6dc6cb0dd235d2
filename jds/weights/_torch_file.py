"""Reads `torch.save` files without PyTorch.

Since PyTorch 1.6, a file is a zip archive of `data.pkl` and the storages `data/N`. Before, it was five pickles in a
row, of which the fourth is the value and the last lists the keys of the storages, which follow, each after its length.
"""

import functools
import io
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jds.weights._errors import WeightsError, printable
from jds.weights._lazy import LazyArray
from jds.weights._torch_pickle import Storage, Unknown, walk

_REMEDY = (
    "convert it with PyTorch: `safetensors.torch.save_file(torch.load(path, weights_only=True), 'new.safetensors')`"
)
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
_PICKLE_LIMIT = 32 << 20
_FILES_LIMIT = 100_000
# The first pickle of a file of before PyTorch 1.6, and the second, the version.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_PICKLED_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class _Contents(NamedTuple):
    """What a file holds.

    Attributes:
      root: the value of its pickle.
      sizes: bytes of each storage, by key.
      load: returns the bytes of a storage, by key.
    """

    root: Any
    sizes: dict[str, int]
    load: Callable[[str], bytes]


def read(path: Path) -> dict[str, LazyArray]:
    """Finds all tensors of a file; their values are read lazily.

    Raises:
      WeightsError: the file is not a valid `torch.save` file, or contains no mapping of names to tensors.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        is_old = file.read(len(_PICKLED_MAGIC)) == _PICKLED_MAGIC
    try:
        contents = _of_pickles(path) if is_old else _of_archive(path)
        return {name: _entry(path, contents, name, value) for name, value in _tensors(contents.root).items()}
    except (
        zipfile.BadZipFile, zlib.error, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError,
        NotImplementedError, RuntimeError, OverflowError,
    ) as error:  # fmt: skip
        raise WeightsError(f"{path} cannot be read as a file of PyTorch: {printable(str(error))}; {_REMEDY}") from error


def _of_archive(path: Path) -> _Contents:
    with zipfile.ZipFile(path) as archive:
        members = _members(archive, path.stat().st_size)
        (pickle,) = (name for name in members if name == "data.pkl" or name.endswith("/data.pkl"))
        folder = pickle.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in members and (members[order] > 16 or archive.read(order) != b"little"):
            raise ValueError("it is big-endian")
        if members[pickle] > _PICKLE_LIMIT:
            raise ValueError("data.pkl is too large")
        root = walk(archive.read(pickle))
    start = f"{folder}data/"
    sizes = {name.removeprefix(start): size for name, size in members.items() if name.startswith(start)}

    def load(key: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(start + key)

    return _Contents(root, sizes, load)


def _of_pickles(path: Path) -> _Contents:
    with open(path, "rb") as file:
        pickles = io.BytesIO(file.read(_PICKLE_LIMIT))
    magic, version, system = walk(pickles), walk(pickles), walk(pickles)
    if (magic, version) != (_MAGIC, _VERSION) or not (isinstance(system, dict) and system.get("little_endian")):
        raise ValueError("its version is unknown, or it is big-endian")
    storages: dict[str, Storage] = {}
    root, keys = walk(pickles, storages), walk(pickles)
    places: dict[str, tuple[int, int]] = {}
    with open(path, "rb") as file:
        file.seek(pickles.tell())
        for key in keys:
            size = int.from_bytes(file.read(8), "little") * np.dtype(storages[key].dtype).itemsize
            places[key] = file.tell(), size
            if file.tell() + size > path.stat().st_size:
                raise ValueError("it ends before its storages")
            file.seek(size, 1)

    def load(key: str) -> bytes:
        start, size = places[key]
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(size)

    return _Contents(root, {key: size for key, (_, size) in places.items()}, load)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, int]:
    """Returns the sizes of all members, which `torch.save` never compresses."""
    infos = archive.infolist()
    names = {info.filename for info in infos}
    if len(infos) > _FILES_LIMIT or len(names) != len(infos):
        raise ValueError("it has too many members, or two with the same name")
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
        raise ValueError("a member is compressed")
    if sum(info.file_size for info in infos) > size:
        raise ValueError("its members are larger than the file")
    return {info.filename: info.file_size for info in infos}


def _tensors(root: Any) -> dict[str, Any]:
    for wrapper in _WRAPPERS:
        if isinstance(root, dict) and isinstance(root.get(wrapper), dict):
            root = root[wrapper]
            break
    if not isinstance(root, dict) or not all(isinstance(name, str) for name in root):
        raise ValueError(f"it contains {root.name if isinstance(root, Unknown) else 'no mapping of names to tensors'}")
    return root


def _entry(path: Path, contents: _Contents, name: str, value: Any) -> LazyArray:
    if isinstance(value, Unknown):
        raise ValueError(f"{name} is created by {value.name}")
    if not (isinstance(value, tuple) and len(value) >= 4 and isinstance(value[0], Storage)):
        raise ValueError(f"{name} is not a tensor")
    storage, offset, shape, strides = value[:4]
    size, dtype = contents.sizes[storage.key], np.dtype(storage.dtype)
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise ValueError(f"{name} has invalid sizes or strides")
    count, held = math.prod(shape), size // dtype.itemsize
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if count else offset - 1
    if size % dtype.itemsize or last >= held or count > held:
        raise ValueError(f"{name} extends beyond its storage")
    return LazyArray(shape, dtype, functools.partial(_load, path, contents, storage.key, offset, strides, shape, dtype))


def _load(
    path: Path,
    contents: _Contents,
    key: str,
    offset: int,
    strides: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> np.ndarray:
    try:
        flat = np.frombuffer(contents.load(key), dtype)
        steps = [stride * dtype.itemsize for stride in strides]
        return np.ndarray(shape, dtype, flat, offset * dtype.itemsize, steps).copy()
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path} is damaged: {error}") from error
