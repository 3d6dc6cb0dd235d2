"""The public function."""

import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jds._common.files import check_writable, write_atomically, write_folder_atomically
from jds.exporting import _check
from jds.exporting._description import Layout
from jds.exporting._formats import Calibration, fitted, format_of, size_of
from jds.exporting._layers import select
from jds.exporting._options import Options
from jds.exporting._photographs import check_natural, photographs
from jds.exporting._prepare import prepare
from jds.exporting._report import Check, ExportReport
from jds.exporting._rounding import rounding_errors
from jds.models import Network

# A folder with one of these files was written by `export`, and may be replaced.
_MARKS = ("description.json", "Manifest.json")
# Files that differ by more, in float, are not written.
_GREATEST_ERROR = 0.05


def export(
    exported: Any,
    path: str | os.PathLike[str],
    *arguments: Any,
    batch: int | None = 1,
    image_size: int | None = None,
    layout: Layout | None = None,
    opset: int | None = None,
    features: bool = False,
    normalize: bool = False,
    softmax: bool = False,
    float16: bool = False,
    int8: Any = None,
    keep_float: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    runtime: str | os.PathLike[str] | None = None,
    check: Any = None,
) -> ExportReport:
    """Writes a network or a function for another runtime, and compares the file with it there.

    The file holds the parameters. A network is written as it runs for inference: in evaluation mode, with batch
    normalizations folded and branches merged; the network itself is not changed.

    Args:
      exported: a network of `jds.models`; or an NNX module, a method of one, or any function of arrays, with examples
        of its arguments. Modules are put into evaluation mode, too.
      path: the file to write, whose ending chooses the format: `.onnx`; `.tflite` for LiteRT; `.mlpackage` for Core ML;
        `.jax`, an artifact of `jax.export`; `.html` for a page in one file. Without an ending, it is the folder of a
        page. What exists there is replaced once the new file is complete.
      *arguments: for a module or function, its arguments: pytrees of arrays or of `jax.ShapeDtypeStruct`s, whose first
        axis may be symbolic, as from `jax.export.symbolic_shape("batch")`.
      batch: for a network, the number of images, or None to let the caller of the file choose it.
      image_size: for a network, height and width of the images; by default those of its preprocessing.
      layout: how arrays of rank 4 are passed to the file and returned: `"NCHW"`, the default for networks, or `"NHWC"`,
        the default for functions, as in JAX.
      opset: for ONNX, the version of its operators, from 11. ONNX Runtime reads opset 17, the default, since version
        1.12.
      features: write the feature maps of `features()` instead of the logits.
      normalize: take images of uint8, with values from 0 to 255, and normalize them in the file.
      softmax: write probabilities instead of logits.
      float16: store weights in float16, half the size; computations stay in float32, except in Core ML.
      int8: for a network, photographs to find the ranges of activations on: a folder, or images as `preprocess` takes
        them. Weights and activations are stored and computed in int8, inputs and outputs stay in float.
      keep_float: with `int8`, names of layers that stay in float, or of modules with all their layers; the report lists
        the names, the layer that loses most by rounding first.
      labels: for a network, the names of its classes, in order; by default those of ImageNet, if it has 1000. They are
        stored in the file, as is the preprocessing.
      runtime: for a page, the folder of the npm package that runs the network in the browser, `@litertjs/core` or
        `onnxruntime-web`; by default, npm fetches the first.
      check: for a network, photographs to compare the results on, as for `int8`; by default, those of `int8`, or
        random numbers that are the same every time.

    Returns:
      A report: the size and layers of the file, and the greatest error of its results. It can be printed.

    Raises:
      NotImplementedError: an operation has no form in the format; the message says which one of which module.
      ValueError, TypeError: an argument is wrong, or the function cannot be traced.
      RuntimeError: the file computes something else in its runtime.
      ImportError: a package is not installed; the message says which.
      OSError: the file cannot be written.

    Example:
      >>> import tempfile, jds
      >>> model = jds.create_model("mobilenetv3_small_050")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     report = jds.export(model, f"{folder}/small.onnx", image_size=64)
      >>> report.inputs, report.outputs
      ({'images': 'float32[1,3,64,64]'}, {'logits': 'float32[1,1000]'})
      >>> report.layers["Conv"], report.check.error < 1e-5
      (35, True)
    """
    path = Path(path)
    options = Options(
        batch=batch,
        image_size=image_size,
        layout=layout,
        opset=opset,
        features=features,
        normalize=normalize,
        softmax=softmax,
        float16=float16,
        int8=int8,
        keep_float=keep_float,
        labels=labels,
        runtime=None if runtime is None else Path(runtime),
    )
    options = fitted(options, path, isinstance(exported, Network))
    _check_replaceable(path)
    prepared = prepare(exported, arguments, options)
    description = prepared.description
    images = None if check is None else photographs(description, check, "check")
    calibration = None
    if int8 is not None:
        chosen = photographs(description, int8, "int8")
        calibration = Calibration(chosen.prepared, select(prepared.layers, keep_float, "keep_float"))
        check_natural(calibration.images, "int8")
        images = chosen if images is None else images
    form = format_of(path)
    check_writable(path)
    converted = form.convert(prepared, options, calibration)
    network = converted.content if converted.network is None else converted.network
    checked = _check.compare(prepared, form, network, images, options.layout)
    if isinstance(checked, Check) and int8 is None and not checked.error <= _GREATEST_ERROR:
        raise RuntimeError(
            f"export: the converted file computes something else than {prepared.name}: its results differ by "
            f"{checked.error:.1e} of the greatest in {checked.runtime}, on {checked.inputs}; it was not written. This "
            "is a fault of the converter or of jds: please report it, with the function"
        )
    rounding = {} if calibration is None else rounding_errors(prepared, calibration.images)
    content = converted.content
    if isinstance(content, bytes):
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
    else:
        write_folder_atomically(path, content)
    return ExportReport(
        path=path,
        format=converted.format,
        bytes=size_of(content),
        layers=converted.layers,
        inputs=converted.inputs,
        outputs=converted.outputs,
        check=checked if isinstance(checked, Check) else None,
        rounding=rounding,
        in_float=converted.in_float or {},
        versions={name: importlib.metadata.version(name) for name in ("jax", "flax", *converted.packages)},
        notes=(*converted.notes, *([checked] if isinstance(checked, str) else [])),
    )


def _check_replaceable(path: Path) -> None:
    """Raises ValueError if `path` is a folder of something else, which must not be lost."""
    if path.is_dir() and any(path.iterdir()) and not any((path / name).exists() for name in _MARKS):
        raise ValueError(f"export: '{path}' is a folder with other files; name a new folder, or one with an old export")
