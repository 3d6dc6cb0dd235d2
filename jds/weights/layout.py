"""Arrays between PyTorch's layout and Flax's."""

import math

import numpy as np


def torch_shape(shape: tuple[int, ...], rank: int | None = None) -> tuple[int, ...]:
    """The shape of a variable in a PyTorch checkpoint.

    A kernel's last axes are its input and output features here, and its first axes there.

    Args:
      shape: of the variable.
      rank: of the entry; None for the variable's. Axes of size 1 are added, or left out, at the end.

    Example:
      >>> from jds.weights.layout import torch_shape
      >>> torch_shape((3, 3, 8, 16)), torch_shape((8, 16), 4), torch_shape((1, 1, 8, 16), 2)
      ((16, 8, 3, 3), (16, 8, 1, 1), (16, 8))
    """
    turned = shape if len(shape) < 2 else (*shape[:-3:-1], *shape[:-2])
    wanted = (*turned, *(1,) * ((rank or len(shape)) - len(shape)))[: rank or len(shape)]
    assert math.prod(wanted) == math.prod(shape), (shape, rank)
    return wanted


def from_torch(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Lays an entry out as a variable of this shape."""
    if len(shape) < 2:
        return array.reshape(shape)
    turned = array.reshape(*shape[:-3:-1], *shape[:-2])
    return turned.transpose(*range(2, turned.ndim), 1, 0)


def to_torch(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Lays a variable out as an entry of this shape."""
    if array.ndim >= 2:
        array = array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))
    return np.ascontiguousarray(array.reshape(shape))
