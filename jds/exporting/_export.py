"""The public function."""

import importlib
import importlib.metadata
import os
from pathlib import Path
from typing import Any, Literal

from jds._common.files import check_writable, write_atomically
from jds.exporting import _check
from jds.exporting._prepare import Options, prepare
from jds.exporting._report import ExportReport

Layout = Literal["NCHW", "NHWC"]


def export(
    exported: Any,
    path: str | os.PathLike[str],
    *arguments: Any,
    batch: int | None = 1,
    image_size: int | None = None,
    layout: Layout | None = None,
    opset: int = 17,
    features: bool = False,
    normalize: bool = False,
    softmax: bool = False,
    check: Any = None,
) -> ExportReport:
    """Writes a network or a function as an ONNX file, and compares the file with it in ONNX Runtime.

    The file holds the parameters. A network is written as it runs for inference: in evaluation mode, with batch
    normalizations folded and branches merged; the network itself is not changed. A convolutional network has no
    transposes, because arrays are stored with their channels first, as ONNX convolutions have them.

    Args:
      exported: a network of `jds.models`; or an NNX module, a method of one, or any function of arrays, with examples
        of its arguments. Modules are put into evaluation mode, too.
      path: the file to write, which must end in `.onnx`. An existing file is replaced once the new one is complete.
      *arguments: for a module or function, its arguments: pytrees of arrays or of `jax.ShapeDtypeStruct`s, whose first
        axis may be symbolic, as from `jax.export.symbolic_shape("batch")`.
      batch: for a network, the number of images, or None to let the caller of the file choose it.
      image_size: for a network, height and width of the images; by default those of its preprocessing.
      layout: how arrays of rank 4 are passed to the file and returned: `"NCHW"`, the default for networks, or `"NHWC"`,
        the default for functions, as in JAX.
      opset: the version of ONNX's operators, from 11. ONNX Runtime reads opset 17, the default, since version 1.12.
      features: write the feature maps of `features()` instead of the logits.
      normalize: take images of uint8, with values from 0 to 255, and normalize them in the file.
      softmax: write probabilities instead of logits.
      check: for a network, images to compare the results on, as `preprocess` takes them; by default, on random numbers
        that are the same every time.

    Returns:
      A report: the size and layers of the file, and the greatest error of its results. It can be printed.

    Raises:
      NotImplementedError: an operation has no form in ONNX; the message says which one of which module.
      ValueError, TypeError: an argument is wrong, or the function cannot be traced.
      ImportError: the package `onnx` is not installed.
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
    if path.suffix != ".onnx":
        raise ValueError(f"export: `path` must end in .onnx, got {str(path)!r}")
    if layout not in (None, "NCHW", "NHWC"):
        raise ValueError(f"export: `layout` must be 'NCHW' or 'NHWC', got {layout!r}")
    if batch is not None and not (isinstance(batch, int) and batch > 0):
        raise ValueError(f"export: `batch` must be a positive int, or None for a free batch, got {batch!r}")
    if image_size is not None and not (isinstance(image_size, int) and image_size > 0):
        raise ValueError(f"export: `image_size` must be a positive int, got {image_size!r}")
    if features and softmax:
        raise ValueError("export: `softmax` is of logits; leave it out with features=True")
    prepared = prepare(exported, arguments, Options(batch, image_size, features, normalize, softmax))
    images = _check.images(prepared, check, normalized_in_file=normalize)
    onnx = _onnx()
    newest = onnx.newest_opset()
    if not 11 <= opset <= newest:
        raise ValueError(
            f"export: `opset` must be from 11 to {newest}, the newest one that `onnx` knows, got {opset!r}"
        )
    check_writable(path)
    is_channels_first = layout == "NCHW" if layout is not None else prepared.network is not None
    model = onnx.convert(prepared, opset=opset, channels_are_first=is_channels_first)
    content = model.SerializeToString()
    checked = _check.compare(prepared, content, images, is_channels_first)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    inputs, outputs = onnx.signature(model)
    return ExportReport(
        path=path,
        format=f"ONNX, opset {opset}",
        bytes=len(content),
        layers=onnx.layers(model),
        inputs=inputs,
        outputs=outputs,
        check=checked,
        versions={name: importlib.metadata.version(name) for name in ("jax", "flax", "onnx")},
        notes=() if checked else ("The file was not run, as ONNX Runtime is not installed: pip install onnxruntime",),
    )


def _onnx() -> Any:
    try:
        return importlib.import_module("jds.exporting.onnx")
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ImportError("export: writing ONNX needs the package `onnx`: pip install 'jds[onnx]'") from error
