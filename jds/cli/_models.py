"""`jds models` and `jds predict`: public networks in the terminal."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from jds import zoo
from jds._common.text import plain_table, short_number
from jds.cli._options import UsageError, check_positive, option
from jds.cli._output import show
from jds.cli._weights import Words, load
from jds.models._suggest import near_names
from jds.nn import freeze
from jds.weights._errors import printable

TOP = 5
_WORDS = Words(
    command="predict",
    model="`--model`",
    weights="`--weights`",
    rule="is required, and must be a network listed by `jds models`",
)


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
        table = plain_table()
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
        model, labels = load(self.model, self.weights, self.num_classes, _WORDS)
        run = freeze(model)
        for path, image in zip(self.images, images, strict=True):
            logits = np.asarray(run(model.preprocess(image))[0])
            if not np.isfinite(logits).all():
                raise UsageError(f"`--weights`: {self.weights} produced NaN or infinity for '{path}'")
            if len(images) > 1:
                print(f"{printable(str(path))}:")
            shares = np.asarray(jax.nn.softmax(logits))
            for place in np.argsort(-shares, kind="stable")[: self.top].tolist():
                print(f"{shares[place]:7.2%}  {printable(labels.get(place, f'class {place}'))}")


def _opened(path: Path) -> Any:
    from jds.models.pictures import open_image  # imported here, because Pillow is slow to import

    try:
        return open_image(path)
    except OSError as error:
        raise UsageError(f"`IMAGE` must be a readable image file, got {error}") from None
