"""Converts arrays between the layouts of PyTorch or Keras and Flax.

In Flax and Keras, the last two axes of a kernel are its input and output features; in PyTorch, the first two are its
output and input features.
"""

import numpy as np

from jds.weights._entries import Entry
from jds.weights._lazy import Shape


class TorchLayout:
    """PyTorch's layout.

    Attributes:
      in_axis, out_axis: of a convolution's kernel.

    Example:
      >>> from jds.weights._entries import Entry
      >>> from jds.weights._layout import TorchLayout
      >>> TorchLayout().public_shape((3, 3, 8, 16), Entry((), ""))
      (16, 8, 3, 3)
      >>> TorchLayout().public_shape((8, 16), Entry((), "", rank=4))
      (16, 8, 1, 1)
    """

    in_axis, out_axis = 1, 0

    def public_shape(self, shape: Shape, entry: Entry) -> Shape:
        """The shape in a checkpoint of a variable of this shape."""
        more = (entry.rank or len(shape)) - len(shape)
        turned = shape if len(shape) < 2 else (*shape[:-3:-1], *shape[:-2])
        return (*turned, *(1,) * more)[: len(shape) + more]

    def from_public(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Lays an entry out as a variable of this shape."""
        if len(shape) < 2:
            return array.reshape(shape)
        turned = array.reshape(*shape[:-3:-1], *shape[:-2])
        return turned.transpose(*range(2, turned.ndim), 1, 0)

    def to_public(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Lays a variable out as an entry of this shape."""
        if array.ndim >= 2:
            array = array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))
        return np.ascontiguousarray(array.reshape(shape))


class KerasLayout:
    """Keras's layout: the same as Flax's except for depthwise kernels.

    Attributes:
      in_axis, out_axis: of a convolution's kernel.

    Example:
      >>> from jds.weights._entries import Entry
      >>> from jds.weights._layout import KerasLayout
      >>> KerasLayout().public_shape((3, 3, 1, 16), Entry((), "", swaps=True))
      (3, 3, 16, 1)
      >>> KerasLayout().public_shape((8, 16), Entry((), "", rank=4))
      (1, 1, 8, 16)
    """

    in_axis, out_axis = 2, -1

    def public_shape(self, shape: Shape, entry: Entry) -> Shape:
        """The shape in a checkpoint of a variable of this shape."""
        more = (entry.rank or len(shape)) - len(shape)
        turned = (*shape[:-2], shape[-1], shape[-2]) if entry.swaps else shape
        return (*(1,) * more, *turned)[max(0, -more) :]

    def from_public(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Lays an entry out as a variable of this shape."""
        return array.reshape(shape)

    def to_public(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Lays a variable out as an entry of this shape."""
        return np.ascontiguousarray(array.reshape(shape))


Layout = TorchLayout | KerasLayout
