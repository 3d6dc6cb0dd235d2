"""Compares every public network with the package it comes from: parameters, and logits with synthetic weights.

    python -m checks.variants [--pattern NAME]

Needs timm and torchvision with PyTorch, and Keras. The record is checks/results/variants.json.
"""

import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx
from safetensors.numpy import save_file

import jds
from checks import sweep
from checks.synthetic_weights import filled
from jds import zoo

RECORD = sweep.RESULTS / "variants.json"
APART, FAR_APART = 0.05, 0.55
# Even at every stride but the last: where a size is odd, the two conventions for padding do not differ.
IMAGE_SIZE = 96


def public(variant: zoo.Variant) -> Any:
    """The network as its own package builds it."""
    if variant.source == "timm":
        return importlib.import_module("timm").create_model(variant.name)
    return getattr(importlib.import_module("torchvision").models, variant.name.partition("/")[2])()


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Norm of the difference, relative to the wanted norm."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def with_right_gain(logits_of: Callable[[float], np.ndarray]) -> np.ndarray:
    """Enlarges the kernels until the logits depend on the image, but not so far that they also depend on rounding."""
    gain, step, too_small = 0.3, 0.05, None
    while gain < 1.5:
        logits = logits_of(gain)
        found = distance(logits[0], logits[1])
        if found <= APART:
            too_small = gain
        elif too_small is None or found < FAR_APART:
            return logits
        else:
            gain, step = too_small, step / 2
        gain += step
    raise RuntimeError(f"no gain up to {gain:.2f} makes the logits of two images differ by more than {APART}")


def keras_model(name: str, size: int, options: dict[str, Any]) -> Any:
    """A Keras network without its built-in preprocessing and its final activation."""
    applications = importlib.import_module("keras").applications
    if name.startswith(("MobileNetV3", "ConvNeXt")):
        options = options | {"include_preprocessing": False}
    shape = (size, size, 3)
    return getattr(applications, name)(weights=None, input_shape=shape, classifier_activation=None, **options)


def fill_keras(model: Any, gain: float) -> None:
    """Gives a Keras network random weights."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "/".join(variable.path.split("/")[-2:-1]) == "normalization":
            continue
        low, high = {"moving_variance": (0.5, 1.5), "gamma": (0.8, 1.2)}.get(variable.name, (-0.1, 0.1))
        value = rng.uniform(low, high, variable.shape)
        if len(variable.shape) > 1:
            is_depthwise = len(variable.shape) == 4 and variable.shape[-1] == 1
            fan_in = np.prod(variable.shape[:2] if is_depthwise else variable.shape[:-1])
            value = gain * rng.standard_normal(variable.shape) * (2 / fan_in) ** 0.5
        variable.assign(value.astype(np.float32))


def of_keras(name: str, images: np.ndarray, file: Path) -> tuple[int, np.ndarray]:
    """Writes the weights of a Keras network; returns its number of parameters and its logits."""
    model = keras_model(name, images.shape[1], {})
    # Undoes the division in EfficientNet's first layer.
    scale = 255 if name.startswith("EfficientNet") else 1

    @jax.jit
    def forward(trainable, others, images):
        return model.stateless_call(trainable, others, images, training=False)[0]

    def logits_of(gain: float) -> np.ndarray:
        fill_keras(model, gain)
        variables = model.trainable_variables, model.non_trainable_variables
        values = [[variable.value for variable in kind] for kind in variables]
        return np.asarray(forward(*values, scale * images))

    logits = with_right_gain(logits_of)
    model.save_weights(file)
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_weights), logits


def of_torch(variant: zoo.Variant, images: np.ndarray, file: Path) -> tuple[int, np.ndarray]:
    """Writes the weights of a timm or torchvision network; returns its number of parameters and its logits."""
    torch = importlib.import_module("torch")
    model = public(variant).eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    inputs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    def logits_of(gain: float) -> np.ndarray:
        entries = {key: torch.from_numpy(np.asarray(value)) for key, value in filled(shapes, gain).items()}
        model.load_state_dict(entries)
        with torch.no_grad():
            return model(inputs).numpy()

    logits = with_right_gain(logits_of)
    save_file({key: value.numpy() for key, value in model.state_dict().items()}, file)
    return sum(parameter.numel() for parameter in model.parameters()), logits


def compare(name: str) -> dict[str, Any]:
    """Both parameter counts, and distances of logits: to the public network's, of two images, and after folding."""
    variant = zoo.VARIANTS[name]
    images = np.random.default_rng(0).standard_normal((2, IMAGE_SIZE, IMAGE_SIZE, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        if variant.source == "keras":
            file = Path(folder) / "model.weights.h5"
            count, wanted = of_keras(name.partition("/")[2], images, file)
        else:
            file = Path(folder) / "model.safetensors"
            count, wanted = of_torch(variant, images, file)
        ours = jds.create_model(name, file)
        ours.eval()
        found = run(ours, images)
        return {
            "parameters": jds.count_parameters(ours),
            "public_parameters": count,
            "difference": distance(found, wanted),
            "of_images": distance(wanted[0], wanted[1]),
            "folded": distance(run(fold(ours), images), found),
            "folded_float64": folded_in_float64(name, file, images),
        }


def run(model: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(nnx.jit(lambda model, images: model(images))(model, jnp.asarray(images)))


def fold(model: Any) -> Any:
    return jds.fold_batch_norm(jds.reparameterize(model))


def folded_in_float64(name: str, file: Path, images: np.ndarray) -> float:
    with jax.enable_x64(True):
        model = jds.create_model(name, file, param_dtype=jnp.float64)
        model.eval()
        found, wanted = (run(model, images.astype(np.float64)) for model in (fold(model), model))
        assert found.dtype == wanted.dtype == np.float64
        return distance(found, wanted)


def is_equal(result: dict[str, Any]) -> bool:
    is_public = result["parameters"] == result["public_parameters"] and result["difference"] < 1e-4
    # If they were closer, logits that do not depend on the image would agree as well.
    return is_public and result["of_images"] > APART and result["folded"] < 1e-4 and result["folded_float64"] < 1e-5


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"
    jax.config.update("jax_default_matmul_precision", "highest")
    sweep.run(
        RECORD,
        tyro.cli(sweep.Settings, description=__doc__),
        compare,
        is_equal,
        packages=("torch", "timm", "torchvision", "keras", "jax"),
        image_size=IMAGE_SIZE,
    )
