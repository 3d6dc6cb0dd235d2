"""`jds models` and `jds predict`: public networks, in the terminal."""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import tyro
from flax import nnx
from PIL import Image, UnidentifiedImageError
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jds import cost, zoo
from jds.cli_options import UsageError, check_positive, option
from jds.imagenet import LABELS
from jds.models import count_parameters
from jds.weights import WeightsError

TOP = 5


@dataclasses.dataclass(frozen=True)
class Models:
    """List public networks with their parameters, mult-adds and image size."""

    pattern: Annotated[tyro.conf.Positional[str], option("[PATTERN]", "of names, with * and ? (default: all)")] = "*"


@dataclasses.dataclass(frozen=True)
class Predict:
    """Classify an image with a public network and its weights."""

    image: Annotated[tyro.conf.Positional[Path], option("IMAGE", "an image file")]
    model: Annotated[str, option("NAME", "a network that `jds models` lists")]
    weights: Annotated[str, option("FILE|ID", "a .safetensors or .h5 file, or a Hugging Face repository's id")]
    num_classes: Annotated[int, option("INT", "that the weights have (default: 1000, of ImageNet)")] = 1000
    top: Annotated[int, option("INT", f"classes to print (default: {TOP})")] = TOP


def run_models(options: Models) -> None:
    """Prints the table."""
    names = zoo.list_models(options.pattern)
    if not names:
        raise UsageError(f"`PATTERN` fits none of the {len(zoo.VARIANTS)} networks, got {options.pattern!r}")
    table = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("network", overflow="fold")
    for heading in ("parameters", "mult-adds", "image size"):
        table.add_column(heading, justify="right", no_wrap=True)
    console, errors = Console(highlight=False), Console(stderr=True)
    shown = track(names, "counting", console=errors, transient=True, disable=not errors.is_terminal)
    for name in shown:
        size = zoo.VARIANTS[name].preprocessing.image_size
        model = nnx.eval_shape(functools.partial(zoo.create_model, name))
        model.eval()
        counted = cost.analyze(model, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)).total
        table.add_row(name, f"{count_parameters(model):,}", cost.number(counted.macs), str(size))
    console.print(table)


def run_predict(options: Predict) -> None:
    """Prints the most likely classes of an image."""
    check_positive(options, "num_classes", "top")
    image = _opened(options.image)
    model = _loaded(options)
    model.eval()
    logits = nnx.jit(lambda model, images: model(images))(model, model.preprocess(image))
    shares = jax.nn.softmax(logits[0])
    labels = LABELS if options.num_classes == len(LABELS) else None
    for place in jnp.argsort(-shares)[: options.top].tolist():
        print(f"{shares[place]:7.2%}  {labels[place] if labels else f'class {place}'}")


def _loaded(options: Predict) -> Any:
    try:
        return zoo.create_model(options.model, options.weights, num_classes=options.num_classes)
    except WeightsError as error:
        raise UsageError(f"`--weights`: {error}") from None
    except OSError as error:
        raise UsageError(f"`--weights` must be a file that can be read, got '{options.weights}': {error}") from None
    except ValueError as error:
        raise UsageError(f"`--model`: {str(error).removeprefix('create_model: ')}") from None


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise UsageError(f"`IMAGE` must be an image file, got '{path}'") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"`IMAGE` must be an image file that can be read, got '{path}': {error}") from None
