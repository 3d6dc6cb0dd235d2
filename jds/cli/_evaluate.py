"""`jds evaluate`: networks and exported files, side by side on a folder of images."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import Progress

from jds import zoo
from jds.cli._options import UsageError, check_output, check_positive, option, write_text
from jds.cli._output import show
from jds.cli._weights import Words, load
from jds.evaluating import _folder
from jds.evaluating._contender import Contender, of_file, of_network
from jds.evaluating._evaluate import run
from jds.exporting._formats import ENDINGS
from jds.models._suggest import near_names
from jds.weights._files import is_repository

_RULE = "must be NAME=FILE, with a network listed by `jds models`"


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Compare networks and exported files on a folder of images: accuracy, agreement, time per image, and size.

    A MODEL is an exported file; NAME=FILE, a network listed by `jds models` and its weights; or weights alone, if their
    config.json names the network. For example, `jds evaluate mobilenetv2_100=v2.safetensors v2.onnx v2-int8.tflite
    --data photos`. Each is compared with the first one.
    """

    models: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        option("MODEL...", f"files ({', '.join(ENDINGS)}), networks as NAME=FILE, or weights with a config.json"),
    ]
    data: Annotated[
        Path,
        option(
            "FOLDER",
            "images in one folder for each class, named by the class's label or number; or one folder for each of all "
            "the classes, in sorted order. If it holds images itself, there is no accuracy, only agreement and time",
        ),
    ]
    weights: Annotated[
        str | None, option("FILE|FOLDER|ID", "weights of the network that is given by its NAME alone")
    ] = None
    num_classes: Annotated[
        int | None,
        option("INT", "number of classes of weights (default: from their config.json, or ImageNet's 1000)"),
    ] = None
    limit: Annotated[int | None, option("INT", "use a random sample of so many images, the same ones every time")] = (
        None
    )
    batch: Annotated[int, option("INT", "images per call, where a file does not fix it (default: 1)")] = 1
    by_class: Annotated[bool, option("", "print the accuracy of each class even if there are more than 20")] = False
    show: Annotated[int, option("INT", "number of images to list on which the models differ (default: 20)")] = 20
    json: Annotated[Path | None, option("FILE", "write all results, image by image, as JSON")] = None

    def run(self) -> None:
        """Prints the comparison, and writes its file."""
        check_positive(self, "num_classes", "limit", "batch")
        if self.show < 0:
            raise UsageError(f"`--show` must be 0 or more, got {self.show}")
        check_output("json", self.json)
        names = _names(self)
        try:
            photographs = _folder.read(self.data)
        except (ValueError, OSError) as error:
            raise UsageError(f"`--data`: {error}") from None
        contenders = [_contender(word, name, self) for word, name in names.items()]
        try:
            evaluation = run(contenders, photographs, limit=self.limit, track=_tracked)
        except ValueError as error:
            raise UsageError(str(error)) from None
        show(evaluation.report(by_class=self.by_class or None, show=self.show))
        if self.json is not None:
            write_text("json", self.json, json.dumps(evaluation.to_dict(), indent=1) + "\n")


def _tracked(groups: Sequence[Any]) -> Iterable[Any]:
    # As for `jds compare`: on standard error, and drawn only between the runs.
    console = Console(stderr=True)
    with Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal) as progress:
        yield from progress.track(groups, description="evaluating")


def _names(options: Evaluate) -> dict[str, str]:
    """Returns a name for each word: short, unless that would be the same for two."""
    words = options.models
    if not words:
        raise UsageError(f"`MODEL` must be at least one file ({', '.join(ENDINGS)}) or network, as NAME=FILE")
    if len(set(words)) < len(words):
        raise UsageError(f"`MODEL` must name each model once, got {' '.join(words)}")
    alone = [word for word in words if word in zoo.VARIANTS]
    if options.weights is not None and len(alone) != 1:
        raise UsageError(
            f"`--weights` is for one network that is given by its NAME alone, got {' '.join(alone) or 'none'}; write "
            "NAME=FILE for several"
        )
    short = {word: word if word in zoo.VARIANTS else _short(word) for word in words}
    counts = [*short.values()]
    return {word: name if counts.count(name) == 1 else word for word, name in short.items()}


def _short(word: str) -> str:
    head, _, path = word.rpartition("=")
    last = Path(path).name or path
    return f"{head}={last}" if head else last


def _contender(word: str, name: str, options: Evaluate) -> Contender:
    path = Path(word)
    is_file = path.suffix in ENDINGS
    architecture, equals, weights = word.partition("=")
    try:
        if is_file and (path.exists() or not equals):
            return of_file(name, path, options.batch, {})
        network, labels = _network(word, architecture if equals else None, weights, options)
        return of_network(name, network, options.batch, labels)
    except OSError as error:
        raise UsageError(f"`MODEL` must be a readable file, got '{error.filename}': {error.strerror}") from None
    except (ValueError, ImportError) as error:
        raise UsageError(f"`MODEL`: {error}") from None


def _network(word: str, architecture: str | None, weights: str, options: Evaluate) -> Any:
    words = Words("evaluate", model="`MODEL`", weights="`MODEL`", rule=_RULE)
    if architecture is not None:
        return load(architecture, weights, options.num_classes, words)
    if word in zoo.VARIANTS:
        if options.weights is None:
            raise UsageError(f"`MODEL` needs weights: {word}=FILE, or `--weights FILE`")
        return load(word, options.weights, options.num_classes, words._replace(weights="`--weights`"))
    if not Path(word).exists() and not is_repository(word):
        near = ", ".join(near_names(word, zoo.VARIANTS))
        hint = f"; did you mean {near}?" if near else ""
        raise UsageError(f"`MODEL`: there is no file or network {word!r}{hint}")
    return load(None, word, options.num_classes, words)
