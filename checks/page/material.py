"""Makes the pages to check, and photographs to choose."""

import importlib
import importlib.resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import ExifTags, Image, ImageCms

import jds
from jds.exporting import page as pages

NETWORK = "tf_efficientnet_lite0"
# For each kind of file, the layout of its images and the npm package that runs it.
KINDS: dict[Any, tuple[Any, str]] = {"tflite": ("NHWC", "@litertjs/core"), "onnx": ("NCHW", "onnxruntime-web")}


def as_tflite(model: Any, size: int) -> bytes:
    api = importlib.import_module("litert_converter.converter_api_ext")
    ir = importlib.import_module("litert_converter.mlir.ir")
    passmanager = importlib.import_module("litert_converter.mlir.passmanager")
    stablehlo = importlib.import_module("litert_converter.mlir.dialects.stablehlo")
    like = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    exported = jax.export.export(jax.jit(lambda images: model(images)), platforms=["tpu"])(like)
    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
        main = next(op for op in module.body.operations if str(op.attributes["sym_name"]).strip('"') == "main")
        api.set_signature(
            main.operation, signature_name="serving_default", input_names=["images"], output_names=["logits"]
        )
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), api.ConvertToTFLConfig())
        return api.export_flatbuffer_to_bytes(module.operation)


def write_pages(model: Any, node_modules: Path | None, folder: Path) -> list[Path]:
    """Writes a folder and one file for each runtime, named by the kind of the network's file."""
    labels = importlib.resources.files("jds.models").joinpath("imagenet.txt").read_text(encoding="utf-8").splitlines()
    jds.export(model, folder / "model.onnx")
    contents = {
        "tflite": as_tflite(model, model.preprocessing.image_size),
        "onnx": (folder / "model.onnx").read_bytes(),
    }
    written = []
    for kind, (layout, package) in KINDS.items():
        description = pages.Description(NETWORK, layout, False, "logits", model.preprocessing, tuple(labels))
        files = pages.build(contents[kind], kind, description, node_modules and node_modules / package)
        for path, data in files.items():
            (folder / kind / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / kind / path).write_bytes(data)
        (folder / f"{kind}.html").write_bytes(pages.as_one_file(files))
        written += [folder / kind, folder / f"{kind}.html"]
    return written


def write_photographs(folder: Path) -> dict[str, Path]:
    """Writes photographs that are hard to read right, all made of real ones."""
    images = Path(importlib.import_module("sklearn.datasets").__file__).parent / "images"  # type: ignore[arg-type]
    china, flower = (Image.open(images / name).convert("RGB") for name in ("china.jpg", "flower.jpg"))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    ramp = Image.fromarray(np.tile(np.arange(china.width, dtype=np.uint8), (china.height, 1)))
    with_alpha = china.copy()
    with_alpha.putalpha(ramp)
    large = flower.resize((6000, 4003), Image.Resampling.BICUBIC)
    written = {
        "jpeg": images / "china.jpg",
        "png": save(flower, folder / "flower.png"),
        "turned": save(flower, folder / "turned.jpg", exif=turned, quality=95, subsampling=0),
        "alpha": save(with_alpha, folder / "alpha.png"),
        "gray": save(china.convert("L"), folder / "gray.png"),
        "large": save(large, folder / "large.png", compress_level=1),
        "large jpeg": save(large, folder / "large.jpg", quality=90),
        "narrow": save(china.crop((100, 0, 120, 420)), folder / "narrow.png"),
        "profile": save(flower, folder / "profile.png", icc_profile=swapped_profile()),
        "small": save(china.resize((40, 31)), folder / "small.png"),
    }
    return written


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def swapped_profile() -> bytes:
    """A color profile with red and green swapped, which must not matter: jds reads the numbers as they are."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.find(b"rXYZ") + 4, profile.find(b"gXYZ") + 4
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile)
