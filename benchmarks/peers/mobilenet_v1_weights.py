"""The weights of MobileNet V1, made by jds's own model and given to every contender."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks.peers import mobilenet_v1
from jds.models import MobileNetV1, MobileNetV1Config


def save(path: Path, width: float) -> None:
    """Writes the weights of a new model, with running statistics and scales like those of a trained one.

    The scales compensate for the ReLUs, so that the logits still depend on the images.
    """
    rng = np.random.default_rng(0)
    weights: dict[str, Any] = flatten(nnx.state(MobileNetV1(MobileNetV1Config(width=width), rngs=nnx.Rngs(0))))
    for name, array in weights.items():
        match name.rpartition(".")[2]:
            case "scale":
                weights[name] = np.sqrt(2) * rng.uniform(0.8, 1.2, array.shape)
            case "var":
                weights[name] = rng.uniform(0.5, 1.5, array.shape)
            case "bias" | "mean":
                weights[name] = 0.1 * rng.standard_normal(array.shape)
    arrays: dict[str, Any] = {name: array.astype(np.float32) for name, array in weights.items()}
    np.savez(path, **arrays)


def load(spec: dict[str, Any]) -> MobileNetV1:
    """The model that a case asks for, with the weights in its file."""
    config = MobileNetV1Config(width=spec["width"], implementation=spec["implementation"])
    made = MobileNetV1(config, rngs=nnx.Rngs(0))
    weights = mobilenet_v1.load(spec)
    state = nnx.state(made)
    leaves, structure = jax.tree.flatten(state)
    values = [jax.numpy.asarray(weights[name]) for name in flatten(state)]
    assert [value.shape for value in values] == [leaf.shape for leaf in leaves]
    nnx.update(made, jax.tree.unflatten(structure, values))
    return made


def flatten(state: Any) -> dict[str, np.ndarray]:
    """Names the arrays of a state: `"blocks.0.depthwise.kernel"`, …, numbering the blocks across all stages."""
    named, _ = jax.tree.flatten_with_path(state)
    paths = [tuple(part.key for part in path if hasattr(part, "key")) for path, _ in named]
    places = dict.fromkeys(path[1:3] for path in paths if path[0] == "stages")
    number = {place: i for i, place in enumerate(sorted(places))}
    names = [("blocks", number[path[1:3]], *path[3:]) if path[0] == "stages" else path for path in paths]
    return {".".join(map(str, name)): np.asarray(leaf) for name, (_, leaf) in zip(names, named, strict=True)}
