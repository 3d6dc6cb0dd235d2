"""Every public network against the package that it is from: parameters, and logits with weights made by a rule.

python -m benchmarks.variants [--pattern NAME]

Needs timm and torchvision with PyTorch. The record is benchmarks/results/variants.json.
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


def compare(name: str) -> dict[str, Any]:
    """Parameters of both, and how far the logits are apart, relative to their size."""
    torch = importlib.import_module("torch")
    theirs = public(zoo.VARIANTS[name]).eval()
    gain = GAIN_OF_BRANCHES if name.startswith("mobileone") else GAIN
    entries = {key: filled(key, tuple(value.shape), gain) for key, value in theirs.state_dict().items()}
    theirs.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in entries.items()})
    images = np.random.default_rng(0).standard_normal((2, IMAGE_SIZE, IMAGE_SIZE, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        safetensors_file.write(file, entries)
        ours = jds.create_model(name, file)
    ours.eval()
    found = np.asarray(nnx.jit(lambda model, images: model(images))(ours, images))
    return {
        "parameters": jds.count_parameters(ours),
        "public_parameters": sum(parameter.numel() for parameter in theirs.parameters()),
        "difference": float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)),
    }


def main(settings: Settings) -> None:
    results = json.loads(RECORD.read_text())["variants"] if RECORD.exists() and settings.pattern != "*" else {}
    for name in track(jds.list_models(settings.pattern), description="comparing"):
        if zoo.VARIANTS[name].source in ("timm", "torchvision"):
            results[name] = compare(name)
            print(name, results[name])
    versions = {package: importlib.metadata.version(package) for package in ("torch", "timm", "torchvision", "jax")}
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
