"""The files that the engines run: a network as jds exports it, or timm's as PyTorch does.

    python -m benchmarks.peers.exported SPEC PATH

A process of its own writes each file, so that an engine's process imports neither JAX nor PyTorch.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# ONNX's operators that PyTorch's exporter knows best.
OPSET = 17
# Crops of photographs for the ranges of int8.
CALIBRATION = 16


def file(spec: dict[str, Any], ending: str) -> Path:
    """Returns the file for a case, which it writes if no contender asked for it before."""
    kind = "int8" if spec["int8"] else "float32"
    path = Path(spec["folder"]) / f"{spec['network']}-{spec['batch']}-{spec['writer']}-{kind}{ending}"
    if not path.exists():
        command = [sys.executable, "-m", "benchmarks.peers.exported", json.dumps(spec), str(path)]
        subprocess.run(command, check=True)
    return path


def by_jds(spec: dict[str, Any], path: Path) -> None:
    import jds
    from benchmarks.peers.public import network

    rounded = {"int8": photographs()} if spec["int8"] else {}
    jds.export(network(spec), path, batch=spec["batch"], image_size=spec["image_size"], **rounded)


def photographs() -> Any:
    """Random crops of the photographs in scikit-learn's wheel."""
    import sklearn.datasets
    from PIL import Image

    from checks.int8 import crops

    images = [Image.fromarray(image) for image in sklearn.datasets.load_sample_images()["images"]]
    return crops(images, CALIBRATION, seed=0)


def by_timm(spec: dict[str, Any], path: Path) -> None:
    torch = importlib.import_module("torch")
    network = importlib.import_module("benchmarks.peers.in_timm").network(spec, exportable=True)
    images = torch.zeros(spec["batch"], 3, spec["image_size"], spec["image_size"])
    temporary = path.with_suffix(".part")
    torch.onnx.export(network, images, temporary, opset_version=OPSET, dynamo=False, input_names=["images"])
    os.replace(temporary, path)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    {"jds": by_jds, "timm": by_timm}[asked["writer"]](asked, Path(sys.argv[2]))
