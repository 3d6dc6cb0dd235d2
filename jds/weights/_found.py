"""The contents of a file or a mapping of weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jds.weights._lazy import LazyArray


class Layer(NamedTuple):
    """A layer with variables.

    Attributes:
      name: as it is in the file.
      arrays: its variables, in Keras's order.
      place: the class of each layer that holds it, from the outermost to its own, and its number among those of that
        class; empty where the layers of a file are in the network's order.
    """

    name: str
    arrays: list[LazyArray]
    place: tuple[tuple[str, int], ...] = ()


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
