"""Reads and writes safetensors files: https://huggingface.co/docs/safetensors."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from jds.weights.errors import WeightsError


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads all entries of a file.

    Raises:
      WeightsError: it is no sound safetensors file.
      OSError: it cannot be read.
    """
    # The library's own errors name no file.
    with open(path, "rb"):
        pass
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise WeightsError(f"{path} is no sound safetensors file: {error}") from error


def write(path: Path, entries: Mapping[str, np.ndarray]) -> None:
    """Writes entries beside the file and renames, so that there is never half a file.

    Raises:
      OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"'{path}' cannot be written: there is no folder '{path.parent}'")
    try:
        temporary.write_bytes(safetensors.numpy.save(dict(entries)))  # by Python, so that the umask sets its mode
        os.replace(temporary, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise OSError(f"'{path}' cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
