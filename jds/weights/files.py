"""Files of weights, wherever they are."""

import re
from pathlib import Path

from flax import nnx

from jds.models import Network
from jds.weights import safetensors_file
from jds.weights.errors import WeightsError
from jds.weights.load import Source, emptied, fill

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def load(network: Network, weights: str | Path, source: Source, rngs: nnx.Rngs) -> None:
    """Gives a network without arrays those of a file, or of a Hugging Face repository.

    Args:
      network: as `nnx.eval_shape` makes it; it is changed only if all is well.
      weights: a path, or a repository's id.
      source: whose names the file has.
      rngs: gives the keys `params` for a new classifier, and `dropout`.

    Raises:
      WeightsError: the file is damaged, or not of this network.
      OSError: it cannot be read or fetched.
    """
    path = Path(weights)
    if not path.exists() and path.suffix != ".safetensors" and _REPOSITORY.fullmatch(str(weights)):
        path = _fetched(str(weights))
    if path.suffix != ".safetensors":
        raise WeightsError(f"weights must be a .safetensors file or a Hugging Face repository's id, got '{weights}'")
    fill(network, safetensors_file.read(path), source, str(weights), rngs)


def _fetched(repository: str) -> Path:
    """The repository's weights on this machine; fetched if need be, with a progress bar."""
    # It takes a third of a second to import.
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors"))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise OSError(f"the weights of {repository} cannot be fetched: {error}") from error


def save(model: Network, path: str | Path) -> None:
    """Writes a network's weights as a safetensors file in the naming of its source, beside and renamed.

    Args:
      model: made by `create_model`.
      path: of the file, with the suffix `.safetensors`.

    Raises:
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
    if model.source is None:
        raise ValueError("save: `model` must be made by `jds.create_model`, which knows the names of its weights")
    safetensors_file.write(path, emptied(model, model.source))
