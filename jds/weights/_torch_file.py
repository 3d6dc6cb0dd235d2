"""Reads `torch.save` files without PyTorch and without unpickling any objects.

A file is a zip archive of `data.pkl` and the storages `data/N`. This module interprets the pickle's opcodes, none of
which calls anything: a global is represented by its name, and a call of an unknown global by a placeholder with that
name. The optimizer state of a training checkpoint is therefore skipped, whatever its type.
"""

import functools
import math
import pickletools
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jds.weights._errors import WeightsError, printable
from jds.weights._lazy import LazyArray

_REMEDY = (
    "convert it with PyTorch: `safetensors.torch.save_file(torch.load(path, weights_only=True), 'new.safetensors')`"
)
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
_PICKLE_LIMIT = 32 << 20
_FILES_LIMIT = 100_000
# Limit on the total number of items in all containers: appending a list to itself could double it each time.
_ITEMS_LIMIT = 2_000_000
_STORAGES: dict[str, Any] = {
    "torch.HalfStorage": np.float16,
    "torch.BFloat16Storage": ml_dtypes.bfloat16,
    "torch.FloatStorage": np.float32,
    "torch.DoubleStorage": np.float64,
    "torch.LongStorage": np.int64,
    "torch.IntStorage": np.int32,
    "torch.ByteStorage": np.uint8,
    "torch.storage.UntypedStorage": np.uint8,
}
# Dtypes stored with the tensor itself, which are newer than typed storages.
_DTYPES: dict[str, Any] = {
    "torch.float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "torch.float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "torch.float8_e5m2": ml_dtypes.float8_e5m2,
    "torch.float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "torch.float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


class _Global(NamedTuple):
    name: str


class _Unknown(NamedTuple):
    name: str


class _Storage(NamedTuple):
    key: str
    dtype: Any


def read(path: Path) -> dict[str, LazyArray]:
    """Finds all tensors of a file; their values are read lazily.

    Raises:
      WeightsError: the file is not a valid `torch.save` file, or contains no mapping of names to tensors.
      OSError: the file cannot be read.
    """
    with open(path, "rb"):
        pass
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path.stat().st_size)
            (pickle,) = (name for name in members if name == "data.pkl" or name.endswith("/data.pkl"))
            folder = pickle.removesuffix("data.pkl")
            order = f"{folder}byteorder"
            if order in members and (members[order] > 16 or archive.read(order) != b"little"):
                raise ValueError("it is big-endian")
            if members[pickle] > _PICKLE_LIMIT:
                raise ValueError("data.pkl is too large")
            root = _walk(archive.read(pickle))
        return {name: _entry(path, folder, members, name, value) for name, value in _tensors(root).items()}
    except (
        zipfile.BadZipFile, zlib.error, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError,
        NotImplementedError, RuntimeError, OverflowError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"{path} cannot be read as a file of PyTorch 1.6 or later: {printable(str(error))}; {_REMEDY}"
        ) from error


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
        raise ValueError(f"it contains {root.name if isinstance(root, _Unknown) else 'no mapping of names to tensors'}")
    return root


def _entry(path: Path, folder: str, members: dict[str, int], name: str, value: Any) -> LazyArray:
    if isinstance(value, _Unknown):
        raise ValueError(f"{name} is created by {value.name}")
    if not (isinstance(value, tuple) and len(value) >= 4 and isinstance(value[0], _Storage)):
        raise ValueError(f"{name} is not a tensor")
    storage, offset, shape, strides = value[:4]
    member, dtype = f"{folder}data/{storage.key}", np.dtype(storage.dtype)
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise ValueError(f"{name} has invalid sizes or strides")
    count, held = math.prod(shape), members[member] // dtype.itemsize
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if count else offset - 1
    if members[member] % dtype.itemsize or last >= held or count > held:
        raise ValueError(f"{name} extends beyond its storage")
    return LazyArray(shape, dtype, functools.partial(_load, path, member, offset, strides, shape, dtype))


def _load(
    path: Path, member: str, offset: int, strides: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            flat = np.frombuffer(archive.read(member), dtype)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path} is damaged: {error}") from error
    steps = [stride * dtype.itemsize for stride in strides]
    return np.ndarray(shape, dtype, flat, offset * dtype.itemsize, steps).copy()


def _reduced(function: Any, args: Any) -> Any:
    name = function.name
    if name == "torch._utils._rebuild_tensor_v2":
        return args
    if name == "torch._utils._rebuild_tensor_v3" and isinstance(args[0], _Storage):
        kind = args[6].name
        return (args[0]._replace(dtype=_DTYPES[kind]), *args[1:]) if kind in _DTYPES else _Unknown(kind)
    if name == "torch._utils._rebuild_parameter":
        return args[0]
    if name == "collections.OrderedDict" and not args:
        return {}
    return _Unknown(name)


def _stored(identity: Any) -> Any:
    _, kind, key, *_ = identity
    return _Storage(key, _STORAGES[kind.name]) if kind.name in _STORAGES else _Unknown(kind.name)


def _walk(data: bytes) -> Any:
    """Interprets the opcodes and returns the pickle's value."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    items_left = _ITEMS_LIMIT

    def marked() -> list[Any]:
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
        items = stack[place + 1 :]
        del stack[place:]
        return items

    arg: Any
    for opcode, arg, _ in pickletools.genops(data):
        op = opcode.name
        if op == "STOP":
            return stack.pop()
        if op in ("PROTO", "FRAME"):
            continue
        if op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op == "MARK":
            stack.append(_MARK)
        elif op.startswith(("BININT", "BINUNICODE", "SHORT_BINUNICODE", "LONG1", "BINFLOAT", "BINBYTES", "SHORT_BIN")):
            stack.append(arg)
        elif op in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if arg is None else arg] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
        elif op == "GLOBAL":
            stack.append(_Global(arg.replace(" ", ".")))
        elif op == "STACK_GLOBAL":
            name = f"{stack.pop(-2)}.{stack.pop()}"
            stack.append(_Global(name))
        elif op in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}[op]())
        elif op == "TUPLE":
            stack.append(tuple(marked()))
        elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(op[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif op in ("SETITEM", "SETITEMS"):
            items = marked() if op == "SETITEMS" else [stack.pop(-2), stack.pop()]
            if any(isinstance(key, tuple) for key in items[::2]):
                raise ValueError("a mapping of its pickle has a tuple for a key")  # hashing a tuple may recurse in C
            if isinstance(stack[-1], dict):
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif op in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if op == "APPEND" else marked()
            items_left -= len(items)
            if items_left < 0:
                raise ValueError(f"its pickle has more than {_ITEMS_LIMIT} items")
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif op in ("REDUCE", "NEWOBJ"):
            args = stack.pop()
            stack.append(_reduced(stack.pop(), args))
        elif op == "BUILD":
            stack.pop()  # for example, the module versions of a state_dict
        elif op == "BINPERSID":
            stack.append(_stored(stack.pop()))
        else:
            raise ValueError(f"its pickle has the opcode {op}")
    raise ValueError("its pickle has no end")
