"""What is evaluated: a network in JAX, or an exported file in its runtime."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jds.exporting._description import as_stored
from jds.exporting._formats import ENDINGS, format_of, package_of, read_content, size_of
from jds.exporting._prepare import ready
from jds.models import Network
from jds.models._imagenet import labels_of
from jds.nn import freeze


@dataclasses.dataclass(frozen=True)
class Contender:
    """A classifier of images.

    Attributes:
      name: for the head of its column.
      runtime: the runtime and its version.
      bytes: size of the file, or of the network's arrays.
      batch: number of images that `run` takes.
      labels: the known labels of its classes.
      prepare: makes the input of one or more images.
      run: returns the scores of each class, `(batch, classes)`.
      scores: what these are.
      classes: number of classes.
    """

    name: str
    runtime: str
    bytes: int
    batch: int
    labels: Mapping[int, str]
    prepare: Callable[[Sequence[Any]], np.ndarray]
    run: Callable[[np.ndarray], np.ndarray]
    scores: str = "logits"
    classes: int = dataclasses.field(init=False)

    def __post_init__(self):
        # The first run may compile; it is no measurement.
        gray = np.full((8, 8, 3), 127, np.uint8)
        scores = self.run(self.prepare([gray] * self.batch))
        if scores.ndim != 2 or len(scores) != self.batch:
            raise ValueError(
                f"{self.name} must return a row of scores for each image, got shape {scores.shape} for {self.batch}"
            )
        if self.labels and max(self.labels) >= scores.shape[1]:
            raise ValueError(f"{self.name} has {scores.shape[1]} classes, got {len(self.labels)} labels")
        object.__setattr__(self, "classes", scores.shape[1])


def of_network(name: str, network: Network, batch: int, labels: Mapping[int, str]) -> Contender:
    """Returns a network as it runs for inference, folded."""
    if not network.config.num_classes:
        raise ValueError(f"{name} has no classifier; build it with its number of classes, such as num_classes=10")
    if network.preprocessing is None:
        raise ValueError(f"the preprocessing of {name} is not known; set `model.preprocessing` first")
    folded = ready(network)
    run = freeze(folded)
    return Contender(
        name=name,
        runtime=f"JAX {jax.__version__} on {jax.default_backend()}",
        bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(folded, nnx.Param))),
        batch=batch,
        labels=labels or dict(enumerate(labels_of(network.config.num_classes))),
        prepare=lambda images: np.asarray(network.preprocess(list(images))),
        run=lambda images: np.asarray(run(images), np.float32),
    )


def of_file(name: str, path: Path, batch: int, labels: Mapping[int, str]) -> Contender:
    """Opens an exported file.

    Raises:
      ValueError: it is not a file of a classifier that `jds.export` wrote.
      ImportError: its runtime is not installed.
      OSError: it cannot be read.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"'{path}' must end in {', '.join(ENDINGS)}")
    content = read_content(path)
    try:
        session = format_of(path).open(content)
    except ModuleNotFoundError as error:
        if error.name is None:  # the runtime does not exist for this system
            raise
        package = package_of(error)
        raise ImportError(f"running {name} needs the package `{package}`: pip install {package}") from error
    except ImportError:
        raise
    except Exception as error:  # each runtime raises its own errors
        raise ValueError(f"'{path}' is damaged, or is no {path.suffix} file: {_first_line(error)}") from None
    described = session.description
    if described is None or described.preprocessing is None:
        raise ValueError(
            f"'{path}' does not say how images become its input: write it with `jds.export`, from a network with "
            "`preprocessing`, which is then stored in the file"
        )
    if described.output == "features":
        raise ValueError(f"'{path}' returns feature maps, not classes; export it without `features`")

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([images])[0], np.float32)

    try:
        return Contender(
            name=name,
            runtime=session.runtime,
            bytes=size_of(content),
            batch=session.batch or batch,
            labels=labels or dict(enumerate(described.labels)),
            prepare=lambda images: np.ascontiguousarray(as_stored(described.prepared(list(images)), described.layout)),
            run=run,
            scores=described.output,
        )
    except Exception as error:
        raise ValueError(f"'{path}' cannot be run: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
