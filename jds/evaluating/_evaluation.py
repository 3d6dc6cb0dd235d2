"""What `evaluate` returns."""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import RenderableType

import jds
from jds._common.text import as_text
from jds.cost import Spread, machine_facts, spread

SCHEMA = {"name": "jds.evaluation", "version": 1}
# Number of classes that are recorded for each image.
TOP = 5


class Share(NamedTuple):
    """A share of images.

    Attributes:
      part: number of images that are meant.
      whole: number of all images.

    Example:
      >>> from jds.evaluating import Share
      >>> share = Share(9, 10)
      >>> share.value, [round(end, 3) for end in share.interval()]
      (0.9, [0.596, 0.982])
    """

    part: int
    whole: int

    @property
    def value(self) -> float:
        """The share, from 0 to 1."""
        return self.part / self.whole

    def interval(self) -> tuple[float, float]:
        """Returns the 95 % confidence interval of the share among all such images, by Wilson's method."""
        from scipy.stats import binomtest  # imported here because it is slow to import

        low, high = binomtest(self.part, self.whole).proportion_ci(0.95, method="wilson")
        return float(low), float(high)


class Change(NamedTuple):
    """How two models differ, image by image.

    Attributes:
      gained: number of images that only the second one classifies correctly.
      lost: number of images that only the first one classifies correctly.

    Example:
      >>> from jds.evaluating import Change
      >>> Change(gained=1, lost=4).p_value()
      0.375
    """

    gained: int
    lost: int

    def p_value(self) -> float:
        """Returns the probability of a split at least as uneven if both are equally good: the exact McNemar test."""
        from scipy.stats import binomtest

        return float(binomtest(self.gained, self.gained + self.lost).pvalue) if sum(self) else 1.0


@dataclasses.dataclass(frozen=True)
class Column:
    """The results of one model.

    Attributes:
      runtime: the runtime and its version.
      bytes: size of the file, or of the network's parameters.
      batch: number of images per call.
      seconds: time per image of the calls that were timed, without decoding and preprocessing.
      top: for each image, the five most likely classes, the most likely first.
      probabilities: the probabilities of these classes.

    Example:
      >>> import numpy as np
      >>> from jds.evaluating import Column
      >>> Column("JAX", 1000, 1, (0.002, 0.003, 0.004), np.array([[0]]), np.array([[1.0]])).time().median
      0.003
    """

    runtime: str
    bytes: int
    batch: int
    seconds: tuple[float, ...]
    top: np.ndarray
    probabilities: np.ndarray

    def time(self) -> Spread:
        """Returns the median and the quartiles of the seconds per image."""
        return spread(self.seconds if len(self.seconds) > 1 else 2 * self.seconds)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Models on the same images.

    Attributes:
      folder: the folder of the images.
      images: paths of the images in it.
      truth: the class of each image; None if the folder has no classes.
      matched_by: what the folders of the classes were matched by; None if there are none.
      classes: number of classes.
      labels: the known labels of the classes.
      columns: the results of each model, by name; the others are compared with the first.
      notes: what else the caller should know, such as images that cannot be read.

    Example:
      >>> import numpy as np
      >>> from pathlib import Path
      >>> from jds.evaluating import Column, Evaluation
      >>> top, sure = np.array([[0, 1], [1, 0]]), np.array([[0.75, 0.25], [0.75, 0.25]])
      >>> column = Column("JAX", 1000, 1, (0.002, 0.002), top, sure)
      >>> truth = np.array([0, 0])
      >>> evaluation = Evaluation(Path("data"), ("a.png", "b.png"), truth, "label", 2, {}, {"small": column})
      >>> evaluation.accuracy("small"), evaluation.columns["small"].time().median
      (Share(part=1, whole=2), 0.002)
    """

    folder: Path
    images: tuple[str, ...]
    truth: np.ndarray | None
    matched_by: str | None
    classes: int
    labels: Mapping[int, str]
    columns: Mapping[str, Column]
    notes: tuple[str, ...] = ()

    def accuracy(self, name: str, top: int = 1) -> Share:
        """Returns the share of the images whose class is among the `top` most likely ones, at most 5.

        Raises:
          ValueError: the images have no classes.
        """
        right = self.right(name, top)
        return Share(int(right.sum()), len(right))

    def right(self, name: str, top: int = 1) -> np.ndarray:
        """Returns for each image whether its class is among the `top` most likely ones; see `accuracy`."""
        if self.truth is None:
            raise ValueError(f"accuracy: the images in '{self.folder}' have no classes")
        if not 1 <= top <= TOP:
            raise ValueError(f"accuracy: `top` must be from 1 to {TOP}, got {top}")
        return (self.columns[name].top[:, :top] == self.truth[:, None]).any(axis=1)

    def agreement(self, name: str) -> Share:
        """Returns the share of the images that a model classifies as the first one does."""
        same = self.columns[name].top[:, 0] == self._first.top[:, 0]
        return Share(int(same.sum()), len(same))

    def change(self, name: str) -> Change:
        """Returns on how many images only one of a model and the first one is right; see `accuracy`."""
        before, after = self.right(next(iter(self.columns))), self.right(name)
        return Change(int((after & ~before).sum()), int((before & ~after).sum()))

    def differing(self) -> np.ndarray:
        """Returns the indices of the images that the models classify differently."""
        said = np.stack([column.top[:, 0] for column in self.columns.values()])
        return np.flatnonzero((said != said[0]).any(axis=0))

    def label(self, number: int) -> str:
        """Returns the first synonym of a class's label, or its number."""
        return self.labels[number].partition(",")[0] if number in self.labels else f"class {number}"

    def report(self, *, by_class: bool | None = None, show: int = 20) -> RenderableType:
        """Returns tables for printing.

        Args:
          by_class: include the accuracy of each class; by default, if there are at most 20.
          show: number of images to list: those on which the models differ, or those that a single one gets wrong.
        """
        from jds.evaluating import _tables  # imported here because it needs this module

        return _tables.report(self, by_class=by_class, show=show)

    def to_dict(self) -> dict[str, Any]:
        """Returns all results, image by image, as a dictionary that `json` can write."""
        return {
            "schema": SCHEMA,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine_facts() | {"jds": jds.__version__},
            "folder": str(self.folder),
            "matched_by": self.matched_by,
            "classes": self.classes,
            "labels": {str(number): label for number, label in self.labels.items()},
            "models": [self._summary(name) for name in self.columns],
            "images": [self._image(place) for place in range(len(self.images))],
            "notes": list(self.notes),
        }

    @property
    def _first(self) -> Column:
        return next(iter(self.columns.values()))

    def _summary(self, name: str) -> dict[str, Any]:
        column = self.columns[name]
        found: dict[str, Any] = {"name": name, "runtime": column.runtime, "bytes": column.bytes, "batch": column.batch}
        found["seconds_per_image"] = column.time()._asdict()
        found["agreement"] = self.agreement(name)._asdict()
        if self.truth is not None:
            for top in (1, TOP):
                share = self.accuracy(name, top)
                found[f"top_{top}"] = share._asdict() | {"interval": share.interval()}
            found |= self.change(name)._asdict() | {"p_value": self.change(name).p_value()}
        return found

    def _image(self, place: int) -> dict[str, Any]:
        predictions = [
            {"classes": column.top[place].tolist(), "probabilities": column.probabilities[place].tolist()}
            for column in self.columns.values()
        ]
        truth = {} if self.truth is None else {"class": int(self.truth[place])}
        return {"file": self.images[place], **truth, "predictions": predictions}

    def __rich__(self) -> RenderableType:
        return self.report()

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return str(self)
