"""`jds export`: a public network as a file for another runtime."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jds import zoo
from jds.cli._network import find_variant
from jds.cli._options import UsageError, check_positive, option
from jds.cli._output import show
from jds.cli._weights import Words, load
from jds.exporting import export
from jds.models import Network

_WORDS = Words("export", "`NAME`", "`--weights`", "must be a network listed by `jds models`")


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a network for another runtime, and compare the file with the network.

    The ending of the path chooses the format. For example, `jds export mobilenetv2_100 --weights v2.safetensors --to
    v2.tflite --int8 photos`.
    """

    model: Annotated[tyro.conf.Positional[str], option("NAME", "a network listed by `jds models`")]
    to: Annotated[
        Path,
        option(
            "PATH",
            "the file to write: .onnx for ONNX Runtime and OpenVINO, .tflite for LiteRT, .mlpackage for Core ML, .jax "
            "for JAX without jds, .html for a page; or the folder of a page",
        ),
    ]
    weights: Annotated[
        str | None,
        option("FILE|FOLDER|ID", "weights (default: random ones, to measure speed)"),
    ] = None
    num_classes: Annotated[
        int | None, option("INT", "number of classes (default: from the config.json, or ImageNet's 1000)")
    ] = None
    batch: Annotated[
        int | Literal["free"], option("INT|free", "images per call; free lets the caller choose it (default: 1)")
    ] = 1
    image_size: Annotated[int | None, option("INT", "height and width (default: the network's)")] = None
    layout: Annotated[
        Literal["NCHW", "NHWC"] | None, option("NCHW|NHWC", "order of the axes of the images, for ONNX (default: NCHW)")
    ] = None
    opset: Annotated[int | None, option("INT", "version of ONNX's operators, from 11 (default: 17)")] = None
    features: Annotated[bool, option("", "write the feature maps instead of the logits")] = False
    normalize: Annotated[bool, option("", "take images of uint8, and normalize them in the file")] = False
    softmax: Annotated[bool, option("", "write probabilities instead of logits")] = False
    float16: Annotated[bool, option("", "store weights in float16")] = False
    int8: Annotated[
        Path | None, option("FOLDER", "compute in int8, with the ranges of activations on these photographs")
    ] = None
    keep_float: Annotated[
        tuple[str, ...], option("LAYER...", "with `--int8`, layers or modules that stay in float")
    ] = ()
    runtime: Annotated[
        Path | None,
        option("FOLDER", "for a page, the npm package @litertjs/core or onnxruntime-web (default: npm fetches it)"),
    ] = None
    check: Annotated[
        Path | None,
        option("FOLDER", "compare on these photographs (default: those of `--int8`, or random numbers)"),
    ] = None

    def run(self) -> None:
        """Writes the file, and prints the report."""
        check_positive(self, "num_classes", "image_size")
        model, labels = self._network()
        for name in ("int8", "check"):
            folder: Path | None = getattr(self, name)
            if folder is not None and not folder.exists():
                raise UsageError(f"`--{name}` must be a folder of photographs, got '{folder}', which does not exist")
        try:
            report = export(
                model,
                self.to,
                batch=None if self.batch == "free" else self.batch,
                image_size=self.image_size,
                layout=self.layout,
                opset=self.opset,
                features=self.features,
                normalize=self.normalize,
                softmax=self.softmax,
                float16=self.float16,
                int8=self.int8,
                keep_float=self.keep_float,
                labels=labels,
                runtime=self.runtime,
                check=self.check,
            )
        except (ValueError, TypeError, ImportError, NotImplementedError, RuntimeError) as error:
            raise UsageError(str(error).removeprefix("export: ")) from None
        except OSError as error:
            if error.strerror is None:
                raise UsageError(str(error).removeprefix("export: ")) from None
            raise UsageError(f"`--to` must be a writable file, got '{self.to}': {error.strerror}") from None
        show(report)

    def _network(self) -> tuple[Network, tuple[str, ...] | None]:
        """Returns the network and the names of its classes, if they are known."""
        if self.weights is None:
            variant = find_variant(self.model)
            print("jds export: without `--weights`, the file has random weights", file=sys.stderr)
            classes: dict[str, Any] = {} if self.num_classes is None else {"num_classes": self.num_classes}
            return zoo.create_model(variant.name, **classes), None
        model, labels = load(self.model, self.weights, self.num_classes, _WORDS)
        count = model.config.num_classes
        names = tuple(labels[place] for place in range(count)) if set(labels) == set(range(count)) else None
        return model, names
