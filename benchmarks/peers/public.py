"""Public networks of jds with synthetic weights, so that no file of weights is needed."""

import tempfile
from pathlib import Path
from typing import Any

from flax import nnx
from safetensors.numpy import save_file

import jds
from checks.synthetic_weights import filled
from jds.weights import shapes_of


def network(spec: dict[str, Any], implementation: str | None = None) -> Any:
    """The network of a case, in evaluation mode; timm's contenders have the same weights."""
    name = spec["network"]
    model = jds.create_model(name, rngs=nnx.Rngs(0))
    shapes = {entry: array.shape for entry, array in shapes_of(model, model.source).items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_file(filled(shapes, spec["gain"]), file)
        model = jds.create_model(name, file, implementation=implementation)
    model.eval()
    return model
