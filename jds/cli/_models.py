"""`jds models` and `jds predict`: public networks in the terminal."""

import dataclasses
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import jax
import numpy as np
import tyro
from flax import nnx
from PIL import Image
from rich import box
from rich.table import Table

from jds import zoo
from jds._common.text import short_number
from jds.cli._options import UsageError, check_positive, option
from jds.cli._output import show
from jds.models import Network
from jds.models._imagenet import LABELS
from jds.models._suggest import near_names
from jds.models.pictures import open_image
from jds.weights import WeightsError, _pretrained_config
from jds.weights._errors import FreshClassifierWarning, OrderWarning, printable
from jds.weights._pretrained_config import PretrainedConfig

TOP = 5


@dataclasses.dataclass(frozen=True)
class Models:
    """List public networks with their parameters, mult-adds and image size."""

    pattern: Annotated[
        tyro.conf.Positional[str], option("[PATTERN]", "a substring, or a pattern with * and ? (default: all)")
    ] = "*"

    def run(self) -> None:
        """Prints the table."""
        names = zoo.list_models(self.pattern)
        if not names:
            near = ", ".join(near_names(self.pattern, zoo.VARIANTS))
            hint = f"; did you mean {near}?" if near else ""
            raise UsageError(f"`PATTERN` matches none of the {len(zoo.VARIANTS)} networks, got {self.pattern!r}{hint}")
        table = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("network", overflow="fold")
        for heading in ("parameters", "mult-adds", "image size"):
            table.add_column(heading, justify="right", no_wrap=True)
        for name in names:
            of = zoo.figures()[name]
            table.add_row(name, f"{of.parameters:,}", short_number(of.multiply_adds), str(of.image_size))
        show(table)


@dataclasses.dataclass(frozen=True)
class Predict:
    """Classify images with a public network and its weights, or with a fine-tuned network."""

    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], option("IMAGE...", "image files")]
    weights: Annotated[
        str, option("FILE|FOLDER|ID", "a file, a folder with model.safetensors, or a Hugging Face repository id")
    ]
    model: Annotated[
        str | None, option("NAME", "a network listed by `jds models` (default: from the weights' config.json)")
    ] = None
    num_classes: Annotated[
        int | None,
        option("INT", "number of classes of the weights (default: from their config.json, or ImageNet's 1000)"),
    ] = None
    top: Annotated[int, option("INT", f"number of classes to print (default: {TOP})")] = TOP

    def run(self) -> None:
        """Prints the most likely classes of each image."""
        if not self.images:
            raise UsageError("`IMAGE` must be at least one image file")
        check_positive(self, "num_classes", "top")
        images = [_opened(path) for path in self.images]
        config = _checked(self, lambda: _pretrained_config.read(self.weights))
        classes = _num_classes(self, config)
        model = _loaded(_architecture(self, config), classes, self)
        labels = config.labels if classes == config.num_classes and config.labels else _usual_labels(classes)
        model.eval()
        run = nnx.jit(lambda model, images: model(images))
        for path, image in zip(self.images, images, strict=True):
            logits = np.asarray(run(model, model.preprocess(image))[0])
            if not np.isfinite(logits).all():
                raise UsageError(f"`--weights`: {self.weights} produced NaN or infinity for '{path}'")
            if len(images) > 1:
                print(f"{printable(str(path))}:")
            shares = np.asarray(jax.nn.softmax(logits))
            for place in np.argsort(-shares, kind="stable")[: self.top].tolist():
                print(f"{shares[place]:7.2%}  {printable(labels.get(place, f'class {place}'))}")


def _usual_labels(classes: int) -> Mapping[int, str]:
    return dict(enumerate(LABELS)) if classes == len(LABELS) else {}


def _num_classes(options: Predict, config: PretrainedConfig) -> int:
    if options.num_classes is not None:
        return options.num_classes
    if config.num_classes == 0:
        raise UsageError(
            f"`--weights` must include a classifier; {options.weights} has none according to its config.json"
        )
    return len(LABELS) if config.num_classes is None else config.num_classes


def _architecture(options: Predict, config: PretrainedConfig) -> str:
    if options.model is not None:
        return options.model
    if config.architecture in zoo.VARIANTS:
        return config.architecture
    found = "has no config.json that names one" if config.architecture is None else f"names {config.architecture!r}"
    raise UsageError(f"`--model` is required, and must be a network listed by `jds models`: {options.weights} {found}")


def _loaded(name: str, classes: int, options: Predict) -> Network:
    # Checked before the weights are read.
    if fault := zoo.name_fault(name):
        raise UsageError(f"`--model`: {fault}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OrderWarning)
        warnings.simplefilter("error", FreshClassifierWarning)
        try:
            model = _checked(options, lambda: zoo.create_model(name, options.weights, num_classes=classes))
        except FreshClassifierWarning as warning:
            raise UsageError(f"`--num-classes` must match the weights: {warning}") from None
        except ValueError as error:
            raise UsageError(f"`--model`: {error}") from None
    for warning in caught:
        print(f"jds predict: {warning.message}", file=sys.stderr)
    return model


T = TypeVar("T")


def _checked(options: Predict, read: Callable[[], T]) -> T:
    """Returns the result of `read`, and converts its errors to `UsageError`."""
    try:
        return read()
    except WeightsError as error:
        raise UsageError(f"`--weights`: {error}") from None
    except OSError as error:
        if error.strerror is None:
            raise UsageError(f"`--weights`: {error}") from None
        # Python's own messages would repeat the file name at the end.
        raise UsageError(f"`--weights` must be a readable file, got '{error.filename}': {error.strerror}") from None


def _opened(path: Path) -> Image.Image:
    try:
        return open_image(path)
    except OSError as error:
        raise UsageError(f"`IMAGE` must be a readable image file, got {error}") from None
