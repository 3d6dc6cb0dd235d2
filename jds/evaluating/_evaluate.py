"""The public function."""

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jds.evaluating import _classes, _folder
from jds.evaluating._contender import Contender, of_file, of_network
from jds.evaluating._evaluation import TOP, Column, Evaluation
from jds.models import Network
from jds.weights._errors import printable

# What one group of images is shown by: `rich.progress.track`, for example.
Track = Callable[[Sequence[Any]], Iterable[Any]]
# Images that a model classifies before the next one's turn.
_TURN = 16


def evaluate(
    models: Any,
    folder: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    limit: int | None = None,
    batch: int = 1,
) -> Evaluation:
    """Compares networks and exported files on a folder of images: accuracy, agreement and time.

    Each model gets every image by its own preprocessing. Networks run as for inference: in evaluation mode, with batch
    normalizations folded and branches merged.

    Args:
      models: a network of `jds.models`, the path of a file that `export` wrote, a list of those, or a mapping of names
        to them. The models must have the same classes; all are compared with the first one.
      folder: images in one folder for each class, named by the class's label or number; or, if there is one for each
        class, in sorted order. If the folder holds the images itself, only agreement and time are reported.
      labels: names of the classes, in order; by default those stored in the files, or ImageNet's if there are 1000.
      limit: number of images to draw at random, the same ones every time; None for all of them.
      batch: number of images per call, for networks and for files that do not fix it.

    Returns:
      The results. They can be printed.

    Raises:
      ValueError, TypeError: an argument is wrong, or a model returned NaN or infinity.
      ImportError: the runtime of a file is not installed.
      OSError: a file or folder cannot be read. Damaged images are not errors: they are left out and reported.

    Example:
      >>> import pathlib, tempfile
      >>> import jds, numpy as np
      >>> from PIL import Image
      >>> model = jds.create_model("mobilenetv3_small_050", num_classes=2)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in ("cat", "dog"):
      ...         (pathlib.Path(folder) / name).mkdir()
      ...         Image.new("RGB", (64, 64), "gray").save(f"{folder}/{name}/1.png")
      ...     evaluation = jds.evaluate({"small": model}, folder, labels=["cat", "dog"])
      >>> evaluation.accuracy("small")
      Share(part=1, whole=2)
    """
    named = _named(models)
    known = dict(enumerate(labels or ()))
    for name, value in (("limit", limit), ("batch", batch)):
        if value is not None and not (isinstance(value, int) and value > 0):
            raise ValueError(f"evaluate: `{name}` must be a positive int, got {value!r}")
    try:
        photographs = _folder.read(Path(folder))
        contenders = [
            of_network(name, model, batch, known)
            if isinstance(model, Network)
            else of_file(name, Path(model), batch, known)
            for name, model in named.items()
        ]
        if labels is not None and len(labels) != contenders[0].classes:
            raise ValueError(f"`labels` must name each of the {contenders[0].classes} classes, got {len(labels)} names")
        return run(contenders, photographs, limit=limit)
    except ValueError as error:
        raise ValueError(f"evaluate: {error}") from None


def run(
    contenders: Sequence[Contender], photographs: _folder.Photographs, *, limit: int | None = None, track: Track = iter
) -> Evaluation:
    """Evaluates contenders.

    Raises:
      ValueError: their classes differ, or are not those of the folders.
    """
    from jds.models.pictures import open_image  # imported here, because Pillow is slow to import

    labels = _common_labels(contenders)
    classes = contenders[0].classes
    try:
        matched = _classes.match(photographs.classes, labels, classes) if photographs.classes else None
    except ValueError as error:
        raise ValueError(f"'{photographs.folder}': {error}") from None
    if matched is not None and matched.by == "sorted order":
        labels = labels or dict(enumerate(photographs.classes))
    notes = [*photographs.notes]
    count = len(photographs.files)
    chosen = sorted(random.Random(0).sample(range(count), limit)) if limit and limit < count else range(count)
    if len(chosen) < count:
        notes.append(f"A random sample of {len(chosen)} of the {count} images; the same ones every time.")
    size = max(_TURN, *(2 * contender.batch for contender in contenders))
    groups = [chosen[start : start + size] for start in range(0, len(chosen), size)]
    rows = {contender.name: _Rows(contender) for contender in contenders}
    order, unreadable = [*rows.values()], []
    read: list[int] = []
    for group in track(groups):
        for place in group:
            try:
                picture = open_image(photographs.files[place])
            except OSError as error:
                unreadable.append(printable(str(error)))
                continue
            read.append(place)
            for each in order:
                each.prepare(picture, photographs.files[place])
        for each in order:
            each.classify()
        order.reverse()
    if not read:
        raise ValueError(f"none of the {len(chosen)} images can be read, such as {unreadable[0]}")
    if unreadable:
        notes.append(f"{len(unreadable)} of {len(chosen)} images cannot be read, and are left out:")
        notes += [f"  {each}" for each in unreadable]
    return Evaluation(
        folder=photographs.folder,
        images=tuple(photographs.files[place].relative_to(photographs.folder).as_posix() for place in read),
        truth=None if matched is None else np.array([matched.numbers[photographs.places[place]] for place in read]),
        matched_by=None if matched is None else matched.by,
        classes=classes,
        labels=labels,
        columns={name: each.column() for name, each in rows.items()},
        notes=tuple(notes),
    )


class _Rows:
    """The results of one contender, image by image."""

    def __init__(self, contender: Contender):
        self._contender = contender
        self._waiting: list[tuple[np.ndarray, Path]] = []
        self._top: list[np.ndarray] = []
        self._shares: list[np.ndarray] = []
        self._seconds: list[float] = []

    def prepare(self, picture: Any, file: Path) -> None:
        """Prepares the picture of a file for the next turn."""
        self._waiting.append((self._contender.prepare([picture]), file))

    def classify(self) -> None:
        """Takes a turn: classifies what was prepared; the last batch is filled with its first image.

        The first half of the turn is not timed: the model that ran before still has the caches, and its threads may be
        waiting busily for more.
        """
        size = self._contender.batch
        batches = [self._waiting[start : start + size] for start in range(0, len(self._waiting), size)]
        self._waiting = []
        for number, batch in enumerate(batches):
            images = np.concatenate([array for array, _ in batch] + [batch[0][0]] * (size - len(batch)))
            begin = time.perf_counter()
            scores = self._contender.run(images)
            seconds = (time.perf_counter() - begin) / size
            if number >= len(batches) // 2:
                self._seconds.append(seconds)
            self._add(scores[: len(batch)].astype(np.float64), [file for _, file in batch])

    def _add(self, scores: np.ndarray, files: Sequence[Path]) -> None:
        for row, file in zip(scores, files, strict=True):
            if not np.isfinite(row).all():
                raise ValueError(f"{self._contender.name} returned NaN or infinity for '{file}'")
        # Of equal scores, the class with the smaller number comes first.
        top = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        if self._contender.scores == "logits":
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
        self._top.append(top)
        self._shares.append(np.take_along_axis(scores, top, 1))

    def column(self) -> Column:
        return Column(
            runtime=self._contender.runtime,
            bytes=self._contender.bytes,
            batch=self._contender.batch,
            seconds=tuple(self._seconds),
            top=np.concatenate(self._top),
            probabilities=np.concatenate(self._shares),
        )


def _common_labels(contenders: Sequence[Contender]) -> Mapping[int, str]:
    """Returns the labels that the contenders share.

    Raises:
      ValueError: their classes differ.
    """
    first, *others = contenders
    for other in others:
        if other.classes != first.classes:
            raise ValueError(
                f"the models must have the same classes, got {first.classes} of {first.name} and {other.classes} of "
                f"{other.name}; evaluate them separately"
            )
    first, *others = sorted(contenders, key=lambda contender: not contender.labels)
    for other in others:
        names = other.labels.values()
        for (number, name), place in zip(other.labels.items(), _classes.find([*names], first.labels), strict=True):
            if place not in (None, number):
                raise ValueError(
                    f"the models must have the same classes, in the same order, got '{printable(name)}' as class "
                    f"{place} of {first.name} and class {number} of {other.name}"
                )
    return first.labels


def _named(models: Any) -> Mapping[str, Any]:
    """Returns the models by name.

    Raises:
      TypeError: one is neither a network nor a path.
      ValueError: there are none, or two have the same name.
    """
    if isinstance(models, Mapping):
        named = dict(models)
    else:
        listed = [models] if isinstance(models, Network | str | os.PathLike) else [*models]
        named = {_name(model): model for model in listed}
        if len(named) < len(listed):
            raise ValueError(f"evaluate: pass a mapping of names to models, as several are named {[*named]}")
    if not named:
        raise ValueError("evaluate: `models` must have at least one network or path, got none")
    for model in named.values():
        if not isinstance(model, Network | str | os.PathLike):
            raise TypeError(f"evaluate: `models` must be networks of `jds.models` or paths, got {type(model)}")
    return named


def _name(model: Any) -> str:
    if isinstance(model, Network):
        return model.name or type(model).__name__
    return Path(model).name if isinstance(model, str | os.PathLike) else ""
