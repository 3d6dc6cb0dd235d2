"""Reads weights from a file, a folder, a repository or a mapping of arrays, and saves them."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jds.models import Network
from jds.weights import _safetensors_file, _torch_file
from jds.weights._errors import WeightsError, printable
from jds.weights._found import Found
from jds.weights._hub import fetch
from jds.weights._load import emptied

# The weights file in a Hugging Face repository, and in a folder laid out like one.
IN_REPOSITORY = "model.safetensors"
Rename = Mapping[str, str] | Callable[[str], str | None]


def _read_keras(path: Path) -> Found:
    # Imported here, because h5py is slow to import.
    from jds.weights import _keras_file

    return Found(layers=_keras_file.read(path))


_READERS: dict[str, Callable[[Path], Found]] = {
    ".safetensors": lambda path: Found(_safetensors_file.read(path)),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), _read_keras),
    **dict.fromkeys((".pth", ".pt", ".bin"), lambda path: Found(_torch_file.read(path), is_ordered=True)),
}
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def read(weights: str | Path | Mapping[str, Any], rename: Rename | None = None) -> Found:
    """Finds all entries of the weights; the values in files are read lazily.

    Args:
      weights: path of a file, or of a folder with a `model.safetensors`; a repository id; or a mapping of names to
        arrays.
      rename: new names of a Keras file's layers, or otherwise of all entries; None drops an entry. Names missing from a
        mapping do not change.

    Returns:
      The entries.

    Raises:
      WeightsError: the file is damaged or of an unknown kind, or two entries get the same name.
      TypeError: a value of a mapping is not an array.
      OSError: the weights cannot be read or downloaded.
    """
    found = _of_mapping(weights) if isinstance(weights, Mapping) else _of_file(weights)
    return found if rename is None else _renamed(found, rename)


def _of_file(weights: str | Path) -> Found:
    path = Path(weights)
    if is_repository(weights):
        path = fetch(str(weights), IN_REPOSITORY)
    elif path.is_dir():
        path = path / IN_REPOSITORY
    if path.suffix not in _READERS:
        raise WeightsError(
            f"weights must be a {', '.join(_READERS)} file, a Hugging Face repository id, a folder with a "
            f"{IN_REPOSITORY}, or a mapping of names to arrays, got '{printable(str(weights))}'"
        )
    return _READERS[path.suffix](path)


def _of_mapping(weights: Mapping[str, Any]) -> Found:
    arrays = {}
    for name, value in weights.items():
        try:
            arrays[name] = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"weights[{name!r}] must be an array: {error}") from None
        if not isinstance(name, str) or arrays[name].dtype.kind in "OSUMm":
            raise TypeError(f"weights must be a mapping of names to arrays, got {name!r}: {type(value).__name__}")
    return Found(arrays, is_ordered=True)


def _renamed(found: Found, rename: Rename) -> Found:
    def new(name: str) -> str | None:
        return rename(name) if callable(rename) else rename.get(name, name)

    old = [layer.name for layer in found.layers] if found.layers is not None else [*found.arrays]
    pairs = [(after, before) for before in old if (after := new(before)) is not None]
    sources: dict[str, str] = {}
    for after, before in pairs:
        if after in sources:
            raise WeightsError(f"rename: {printable(sources[after])!r} and {printable(before)!r} both become {after!r}")
        sources[after] = before
    if found.layers is None:
        return found._replace(arrays={after: found.arrays[before] for after, before in pairs})
    layers = [layer._replace(name=after) for layer in found.layers if (after := new(layer.name)) is not None]
    return found._replace(layers=layers)


def is_repository(weights: str | Path) -> bool:
    """Whether this is a Hugging Face repository id rather than a path."""
    path = Path(weights)
    return not path.exists() and path.suffix not in _READERS and _REPOSITORY.fullmatch(str(weights)) is not None


def save_weights(model: nnx.Module, path: str | Path) -> None:
    """Writes a network's weights, under the names of its source, to a safetensors file; the write is atomic.

    Args:
      model: a network made by `create_model`.
      path: path of the file, with the suffix `.safetensors`.

    Raises:
      TypeError: the model is not a network of jds.
      ValueError: the path has another suffix, or the model was not made by `create_model`.
      OSError: the file cannot be written.

    Example:
      >>> import jds, tempfile
      >>> from pathlib import Path
      >>> model = jds.create_model("mobilenetv2_035", num_classes=10)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder) / "weights.safetensors"
      ...     jds.save_weights(model, file)
      ...     again = jds.create_model("mobilenetv2_035", file, num_classes=10)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"save_weights: `path` must end in .safetensors, got '{path}'")
    if not isinstance(model, Network):
        raise TypeError(
            f"save_weights: `model` must be a network made by `jds.create_model`, got {type(model).__name__}; save "
            + (
                "the network that was given to `jds.freeze`"
                if isinstance(model, jax.stages.Wrapped)
                else "your own module with Orbax, from `nnx.state(model)`"
            )
        )
    if model.source is None:
        raise ValueError(
            "save_weights: `model` must be made by `jds.create_model`, which knows the names of its weights"
        )
    _safetensors_file.write(path, emptied(model, model.source))
