"""The operations of an exported file, in the form that its readers hand over."""

from collections.abc import Mapping
from typing import NamedTuple

from jds.cost.rules import Cost


class Tensor(NamedTuple):
    """An array of a file.

    Attributes:
      shape: its sizes.
      dtype: what it is stored as, by the name in NumPy or ml_dtypes, such as `float32` or `int4`.
      bytes: its size as stored.
      is_parameter: whether it is a weight or a bias: neither an activation nor a constant such as a shape, a limit or a
        scale of rounding.

    Example:
      >>> from jds import cost
      >>> cost.Tensor((8, 4), "int4", 16, is_parameter=True).shape
      (8, 4)
    """

    shape: tuple[int, ...]
    dtype: str
    bytes: int
    is_parameter: bool


class Node(NamedTuple):
    """An operation of a file.

    Attributes:
      layer: the path of its layer, such as `stages/1/0/depthwise`; empty if the file does not name it.
      operation: its name in the format, such as `Conv` or `DEPTHWISE_CONV_2D`.
      inputs, outputs: names of its tensors.
      cost: its cost; None if there is no rule for it.
      without_padding: its cost without multiply-accumulates with padding, for lower bounds; None if it is the same.

    Example:
      >>> from jds import cost
      >>> cost.Node("act", "Relu", ("x",), ("y",), cost.Cost("element-wise", cost.Counts(flops=8))).cost.kind
      'element-wise'
    """

    layer: str
    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    cost: Cost | None
    without_padding: Cost | None = None


class Graph(NamedTuple):
    """What a file computes.

    Attributes:
      name: name of the graph or, if it has none, of the file.
      tensors: the arrays that its operations read and write, by name.
      nodes: its operations, in the order in which they run.
      inputs, outputs: names of the tensors that the caller passes and gets.

    Example:
      >>> from jds import cost
      >>> tensor = cost.Tensor((8,), "float32", 32, False)
      >>> cost.Graph("nothing", {"x": tensor}, (), ("x",), ("x",)).nodes
      ()
    """

    name: str
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
