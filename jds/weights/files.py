"""Files of weights, wherever they are."""

import re
from pathlib import Path

import numpy as np
from flax import nnx

from jds.models import Network
from jds.weights import keras_file, safetensors_file, torch_file
from jds.weights.errors import WeightsError
from jds.weights.hub import fetch
from jds.weights.load import emptied

# The file of weights in a Hugging Face repository, and in a folder that looks like one.
IN_REPOSITORY = "model.safetensors"

_READERS = {
    ".safetensors": safetensors_file.read,
    ".h5": keras_file.read,
    **dict.fromkeys((".pth", ".pt", ".bin"), torch_file.read),
}
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def read(
    weights: str | Path,
) -> dict[str, np.ndarray] | dict[str, torch_file.LazyEntry] | keras_file.Layers:
    """Reads all entries of a file, or of a Hugging Face repository's.

    Args:
      weights: a path of a file, or of a folder with a `model.safetensors`; or a repository's id.

    Returns:
      The entries by their names; of a Keras file its layers.

    Raises:
      WeightsError: the file is damaged, or of another kind.
      OSError: it cannot be read or fetched.
    """
    path = Path(weights)
    if is_repository(weights):
        path = fetch(str(weights), IN_REPOSITORY)
    elif path.is_dir():
        path = path / IN_REPOSITORY
    if path.suffix not in _READERS:
        raise WeightsError(
            "weights must be a .safetensors, .pth, .pt, .bin, .h5 or .weights.h5 file or a Hugging Face "
            f"repository's id, got '{weights}'"
        )
    return _READERS[path.suffix](path)


def is_repository(weights: str | Path) -> bool:
    """Whether this is the id of a Hugging Face repository, not a path."""
    path = Path(weights)
    return not path.exists() and path.suffix not in _READERS and _REPOSITORY.fullmatch(str(weights)) is not None


def save(model: nnx.Module, path: str | Path) -> None:
    """Writes a network's weights as a safetensors file in the naming of its source, beside and renamed.

    Args:
      model: made by `create_model`.
      path: of the file, with the suffix `.safetensors`.

    Raises:
      TypeError: the model is no network of jds.
      ValueError: the path has another suffix, or the model no source.
      OSError: the file cannot be written.

    Example:
      >>> import jds, tempfile
      >>> from pathlib import Path
      >>> model = jds.create_model("mobilenetv2_035", num_classes=10)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder) / "weights.safetensors"
      ...     jds.save(model, file)
      ...     again = jds.create_model("mobilenetv2_035", file, num_classes=10)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"save: `path` must end in .safetensors, got '{path}'")
    if not isinstance(model, Network):
        raise TypeError(
            f"save: `model` must be a network made by `jds.create_model`, got {type(model).__name__}; save a module of "
            "your own by Orbax, from `nnx.state(model)`"
        )
    if model.source is None:
        raise ValueError("save: `model` must be made by `jds.create_model`, which knows the names of its weights")
    safetensors_file.write(path, emptied(model, model.source))
