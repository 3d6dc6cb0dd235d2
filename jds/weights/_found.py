"""The contents of a file or a mapping of weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jds.weights._keras_file import Layer


class Found(NamedTuple):
    """Arrays with names, or the layers of a Keras file.

    Attributes:
      arrays: by their names; each has a shape and a dtype, and `numpy.asarray` reads it.
      is_ordered: whether the arrays are in the order in which the network made them.
      layers: of a Keras file, whose arrays have no names of their own.
    """

    arrays: Mapping[str, Any] = {}
    is_ordered: bool = False
    layers: list[Layer] | None = None
