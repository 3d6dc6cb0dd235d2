"""The contents of a weights file or mapping."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jds.weights._lazy import LazyArray


class Layer(NamedTuple):
    """A layer with variables.

    Attributes:
      name: name in the file.
      arrays: its variables, in Keras's order.
      place: the class of each enclosing layer and of the layer itself, outermost first, each with the index among
        layers of that class; empty if the layers of the file are in the network's order.
    """

    name: str
    arrays: list[LazyArray]
    place: tuple[tuple[str, int], ...] = ()


class Found(NamedTuple):
    """Arrays with names, or the layers of a Keras file.

    Attributes:
      arrays: arrays by name; each has a shape and a dtype, and `numpy.asarray` reads it.
      is_ordered: whether the arrays are in the order in which the network created them.
      layers: layers of a Keras file, whose arrays have no separate names.
    """

    arrays: Mapping[str, Any] = {}
    is_ordered: bool = False
    layers: list[Layer] | None = None
