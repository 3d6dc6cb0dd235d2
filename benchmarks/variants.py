"""Every public network against the package that it is from: parameters, and logits with weights made by a rule.

KERAS_BACKEND=jax python -m benchmarks.variants [--pattern NAME]

Needs timm and torchvision with PyTorch, and Keras. The record is benchmarks/results/variants.json.
"""

import dataclasses
import importlib
import importlib.metadata
import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from flax import nnx
from rich.progress import track

import jds
from jds import zoo
from jds.weights import safetensors_file

RECORD = Path(__file__).parent / "results" / "variants.json"
# Logits neither vanish nor explode: where branches are added up, each has to be smaller.
GAIN, GAIN_OF_BRANCHES = 0.8, 0.35
# Odd, so that both ways to pad are seen.
IMAGE_SIZE = 97


@dataclasses.dataclass
class Settings:
    """Which networks."""

    pattern: str = "*"


def filled(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """An entry of a checkpoint, by its name and shape."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    match name.rpartition(".")[2]:
        case "num_batches_tracked":
            return np.zeros(shape, np.int64)
        case "running_mean":
            return np.float32(0.02) * noise
        case "running_var":
            return 1 + np.float32(0.2) * abs(noise)
        case _ if len(shape) >= 2:
            return (noise * gain * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        case "bias":
            return np.float32(0.02) * noise
    return 1 + np.float32(0.1) * noise


def public(variant: zoo.Variant) -> Any:
    """The network as its own package builds it."""
    if variant.source == "timm":
        return importlib.import_module("timm").create_model(variant.name)
    return getattr(importlib.import_module("torchvision").models, variant.name.partition("/")[2])()


def keras_model(name: str, size: int, options: dict[str, Any]) -> Any:
    """A network of Keras's with random weights, without its first layers' and its last layer's ways with values."""
    applications = importlib.import_module("keras").applications
    if name.startswith(("MobileNetV3", "ConvNeXt")):
        options = options | {"include_preprocessing": False}
    shape = (size, size, 3)
    model = getattr(applications, name)(weights=None, input_shape=shape, classifier_activation=None, **options)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "/".join(variable.path.split("/")[-2:-1]) == "normalization":
            continue
        low, high = {"moving_variance": (0.5, 1.5), "gamma": (0.8, 1.2)}.get(variable.name, (-0.1, 0.1))
        value = rng.uniform(low, high, variable.shape)
        if len(variable.shape) > 1:
            is_depthwise = "depthwise" in variable.path or "dwconv" in variable.path
            fan_in = np.prod(variable.shape[:2] if is_depthwise else variable.shape[:-1])
            value = GAIN * rng.standard_normal(variable.shape) * (2 / fan_in) ** 0.5
        variable.assign(value.astype(np.float32))
    return model


def of_keras(name: str, images: np.ndarray, file: Path) -> tuple[int, np.ndarray]:
    """Writes the weights of a network of Keras's; returns its parameters and its logits."""
    model = keras_model(name, images.shape[1], {})
    model.save_weights(file)
    # What its own first layer divides by.
    scale = 255 if name.startswith("EfficientNet") else 1
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_weights)
    return count, np.asarray(jax.jit(lambda images: model(images, training=False))(scale * images))


def of_torch(variant: zoo.Variant, images: np.ndarray, file: Path) -> tuple[int, np.ndarray]:
    """Writes the weights of a network of timm's or torchvision's; returns its parameters and its logits."""
    torch = importlib.import_module("torch")
    model = public(variant).eval()
    gain = GAIN_OF_BRANCHES if variant.name.startswith("mobileone") else GAIN
    entries = {key: filled(key, tuple(value.shape), gain) for key, value in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in entries.items()})
    safetensors_file.write(file, entries)
    with torch.no_grad():
        logits = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    return sum(parameter.numel() for parameter in model.parameters()), logits


def compare(name: str) -> dict[str, Any]:
    """Parameters of both, and how far the logits are apart, relative to their size."""
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
    found = np.asarray(nnx.jit(lambda model, images: model(images))(ours, images))
    return {
        "parameters": jds.count_parameters(ours),
        "public_parameters": count,
        "difference": float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)),
    }


def main(settings: Settings) -> None:
    results = json.loads(RECORD.read_text())["variants"] if RECORD.exists() and settings.pattern != "*" else {}
    for name in track(jds.list_models(settings.pattern), description="comparing"):
        results[name] = compare(name)
        print(name, results[name])
    packages = ("torch", "timm", "torchvision", "keras", "jax")
    versions = {package: importlib.metadata.version(package) for package in packages}
    record = {"versions": versions, "image_size": IMAGE_SIZE, "variants": dict(sorted(results.items()))}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    wrong = [
        name
        for name, result in results.items()
        if result["parameters"] != result["public_parameters"] or not result["difference"] < 1e-4
    ]
    raise SystemExit(f"differ: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    jax.config.update("jax_default_matmul_precision", "highest")
    main(tyro.cli(Settings, description=__doc__))
