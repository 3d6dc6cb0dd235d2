"""The inputs and outputs of a package, which an app's programmer sees in Xcode."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jds.exporting._description import Layout, as_in_jax, as_stored
from jds.exporting._options import Options
from jds.exporting._prepare import Prepared
from jds.exporting.coreml._packages import packages

# The name under which Core ML returns the most probable class.
_CLASS = "classLabel"


@dataclasses.dataclass(frozen=True)
class Interface:
    """How the inputs and outputs of a program are stored.

    Attributes:
      inputs: shape and dtype of each input, by name.
      outputs: names of the outputs.
      takes_image: whether the only input is an image of the system's, rather than an array.
      labels: the names of the classes, which differ, if the package is a classifier.
      layout: of arrays of rank 4; an image has its channels first.
    """

    inputs: dict[str, jax.ShapeDtypeStruct]
    outputs: tuple[str, ...]
    takes_image: bool
    labels: tuple[str, ...]
    layout: Layout | None

    def loaded(self, arrays: Sequence[jax.Array], dtypes: Sequence[Any]) -> list[jax.Array]:
        """Returns the inputs of the program."""
        if self.takes_image:
            # An image has its channels first; the program converts the pixels itself, whatever their dtype.
            return [as_in_jax(array, "NCHW") for array in arrays]
        return [_as_dtype(as_in_jax(array, self.layout), dtype) for array, dtype in zip(arrays, dtypes, strict=True)]

    def stored(self, results: Sequence[jax.Array]) -> list[jax.Array]:
        """Returns the outputs of the package."""
        return [_as_dtype(as_stored(result, self.layout), _stored_dtype(result.dtype)) for result in results]

    def input_types(self) -> list[Any]:
        """Returns the inputs in terms of coremltools."""
        if not self.takes_image:
            return [packages().coremltools.TensorType(name, like.shape or (1,)) for name, like in self.inputs.items()]
        ((name, like),) = self.inputs.items()
        coremltools = packages().coremltools
        layouts = coremltools.colorlayout
        layout = layouts.RGB if like.shape[1] == 3 else layouts.GRAYSCALE
        return [coremltools.ImageType(name, like.shape, color_layout=layout, channel_first=True)]

    def classifier(self) -> Any:
        """Returns the names of the classes in terms of coremltools, or None."""
        if not self.labels:
            return None
        return packages().coremltools.ClassifierConfig([*self.labels], _CLASS, self.outputs[0])


def interface_of(prepared: Prepared, options: Options) -> Interface:
    """Returns how a program's inputs and outputs are stored.

    Raises:
      ValueError: the options need what Core ML does not have.
    """
    if any(not isinstance(size, int) for like in prepared.inputs.values() for size in like.shape):
        raise ValueError(
            "export: a Core ML package has a fixed batch, but the example or batch=None leaves it free; give a number"
        )
    description = prepared.description
    takes_image = description is not None and description.pixels
    is_first = options.layout == "NCHW" or takes_image
    inputs = {name: _stored(like, is_first) for name, like in prepared.inputs.items()}
    if takes_image:
        inputs = {name: _image(like) for name, like in inputs.items()}
    is_classifier = description is not None and description.output == "probabilities"
    labels = unlike(description.labels) if description is not None and is_classifier else []
    return Interface(inputs, prepared.output_names, takes_image, tuple(labels), options.layout)


def unlike(labels: Sequence[str]) -> list[str]:
    """Adds its number to each class that shares its label, as Core ML returns probabilities by label.

    Example:
      >>> from jds.exporting.coreml._interface import unlike
      >>> unlike(["crane", "stork", "crane"])
      ['crane (0)', 'stork', 'crane (2)']
    """
    counts = collections.Counter(labels)
    return [f"{label} ({place})" if counts[label] > 1 else label for place, label in enumerate(labels)]


def _image(like: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Returns an image as Core ML passes it to a program: with pixels of float32."""
    batch, channels, height, width = like.shape
    if batch != 1:
        raise ValueError(
            f"export: with normalize=True, a Core ML package takes one image, got batch={batch}; leave `batch` out"
        )
    if channels not in (1, 3):
        raise ValueError(
            f"export: with normalize=True, a Core ML package takes an image of 1 or 3 channels, got {channels}; "
            "leave `normalize` out, and pass normalized arrays"
        )
    return jax.ShapeDtypeStruct((1, channels, height, width), jnp.float32)


def _stored(like: jax.ShapeDtypeStruct, channels_are_first: bool) -> jax.ShapeDtypeStruct:
    shape = like.shape
    if channels_are_first and len(shape) == 4:
        shape = shape[0], shape[3], shape[1], shape[2]
    return jax.ShapeDtypeStruct(shape, _stored_dtype(like.dtype))


def _stored_dtype(dtype: Any) -> Any:
    """Core ML's arrays are of float16, float32 and int32."""
    if dtype == jnp.float16:
        return dtype
    return jnp.float32 if jnp.issubdtype(dtype, jnp.floating) else jnp.int32


def _as_dtype(array: jax.Array, dtype: Any) -> jax.Array:
    return array if array.dtype == dtype else array.astype(dtype)
