"""Reads and writes safetensors files: https://huggingface.co/docs/safetensors."""

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from jds._common.files import write_atomically
from jds.weights._errors import WeightsError, printable
from jds.weights._lazy import LazyArray

_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(path: Path) -> dict[str, LazyArray]:
    """Finds all entries of a file; their values are read lazily.

    Raises:
      WeightsError: the file is not a valid safetensors file.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        try:
            # This checks the header against the file's size, and maps the data without reading it.
            with safetensors.safe_open(path, "numpy"):
                pass
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            return {name: _entry(path, 8 + length, name, **facts) for name, facts in header.items()}
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise WeightsError(f"{path} is not a valid safetensors file: {printable(str(error))}") from error


def _entry(path: Path, start: int, name: str, dtype: str, shape: list[int], data_offsets: list[int]) -> LazyArray:
    if dtype not in _DTYPES:
        raise ValueError(f"{name} has dtype {dtype}, which is not supported")
    load = functools.partial(_load, path, start + data_offsets[0], tuple(shape), np.dtype(_DTYPES[dtype]))
    return LazyArray(tuple(shape), np.dtype(_DTYPES[dtype]), load)


def _load(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.fromfile(path, dtype, math.prod(shape), offset=offset).reshape(shape)


def write(path: Path, entries: Mapping[str, np.ndarray]) -> None:
    """Writes a file atomically; if writing fails, an existing file is not changed.

    Raises:
      OSError: the file cannot be written.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"'{path}' cannot be written: there is no folder '{path.parent}'")
    try:
        data = safetensors.numpy.save(dict(entries))
        write_atomically(path, lambda path: path.write_bytes(data))  # written by Python, which respects the umask
    except (OSError, safetensors.SafetensorError) as error:
        raise OSError(f"'{path}' cannot be written: {getattr(error, 'strerror', None) or error}") from error
