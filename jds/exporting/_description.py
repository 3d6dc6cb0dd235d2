"""What a program needs to know to use an exported network; it is stored in the file."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from jds.models import Preprocessing

Layout = Literal["NCHW", "NHWC"]
Output = Literal["logits", "probabilities", "features"]

_PREPROCESSING = [field.name for field in dataclasses.fields(Preprocessing)]


@dataclasses.dataclass(frozen=True)
class Description:
    """How to call an exported network, and what its results mean.

    Attributes:
      name: name of the network, as in `jds.list_models()`, or of its class.
      layout: of the images, and of the feature maps.
      pixels: whether the file takes pixels, uint8 from 0 to 255, and normalizes them itself.
      output: what the file returns.
      preprocessing: how an image becomes the input of the network; None if it is not known.
      labels: names of the classes, by number; empty if they are not known.

    Example:
      >>> from jds.exporting._description import Description
      >>> described = Description("mobilenetv2_100", "NHWC", False, "logits", None, ("cat", "dog"))
      >>> described.entries()["labels"]
      '["cat", "dog"]'
      >>> Description.read(described.entries()) == described
      True
    """

    name: str
    layout: Layout
    pixels: bool
    output: Output
    preprocessing: Preprocessing | None
    labels: tuple[str, ...] = ()

    def entries(self) -> dict[str, str]:
        """Returns the description as texts by name; all but the words are in JSON."""
        values: dict[str, Any] = {
            "name": self.name,
            "layout": self.layout,
            "input": "pixels from 0 to 255" if self.pixels else "normalized",
            "output": self.output,
        }
        if self.preprocessing is not None:
            values |= dataclasses.asdict(self.preprocessing)
        if self.labels:
            values["labels"] = self.labels
        return {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in values.items()
        }

    def prepared(self, images: Any) -> np.ndarray:
        """Prepares images, as `Preprocessing` takes them, for a network in JAX or for the file, channels last."""
        if self.preprocessing is None:
            raise ValueError(f"export: the preprocessing of {self.name} is not known")
        if not self.pixels:
            return np.asarray(self.preprocessing(images))
        channels = len(self.preprocessing.mean)
        plain = dataclasses.replace(self.preprocessing, mean=(0.0,) * channels, std=(1.0,) * channels)
        return np.rint(255 * np.asarray(plain(images))).astype(np.uint8)

    @classmethod
    def read(cls, entries: Mapping[str, str]) -> "Description | None":
        """Returns what `entries` describes, or None if it was not written by jds.

        Raises:
          ValueError: an entry is wrong.
        """
        if not {"name", "layout", "input", "output"} <= entries.keys():
            return None
        known: dict[str, Any] = {name: _value(entries[name]) for name in _PREPROCESSING if name in entries}
        layout: Any = entries["layout"]
        output: Any = entries["output"]
        return cls(
            name=entries["name"],
            layout=layout,
            pixels=entries["input"] != "normalized",
            output=output,
            preprocessing=Preprocessing(**known) if known else None,
            labels=tuple(map(str, _value(entries["labels"]))) if "labels" in entries else (),
        )


def as_stored(array: Any, layout: Layout | None) -> Any:
    """Returns an array of JAX, channels last, as the file has it."""
    return array.transpose(0, 3, 1, 2) if layout == "NCHW" and array.ndim == 4 else array


def as_in_jax(array: Any, layout: Layout | None) -> Any:
    """Returns an array of the file as JAX has it, channels last."""
    return array.transpose(0, 2, 3, 1) if layout == "NCHW" and array.ndim == 4 else array


def _value(text: str) -> Any:
    """Returns what `entries` wrote: words as they are, lists as tuples."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return tuple(value) if isinstance(value, list) else value
