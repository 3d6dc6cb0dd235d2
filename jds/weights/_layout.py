"""Arrays between PyTorch's or Keras's layout and Flax's."""

import numpy as np

from jds.weights._entries import Entry


def public_shape(shape: tuple[int, ...], entry: Entry, is_torch: bool) -> tuple[int, ...]:
    """The shape of a variable in a checkpoint.

    A kernel's last axes are its input and output features here and in Keras; PyTorch has those first, the other way
    round.

    Args:
      shape: of the variable.
      entry: its entry.
      is_torch: whether it is PyTorch's.

    Example:
      >>> from jds.weights._entries import Entry
      >>> from jds.weights._layout import public_shape
      >>> public_shape((3, 3, 8, 16), Entry((), ""), True), public_shape((8, 16), Entry((), "", rank=4), True)
      ((16, 8, 3, 3), (16, 8, 1, 1))
      >>> public_shape((3, 3, 1, 16), Entry((), "", swaps=True), False), public_shape((8, 16), Entry((), "", 4), False)
      ((3, 3, 16, 1), (1, 1, 8, 16))
    """
    more = (entry.rank or len(shape)) - len(shape)
    if is_torch:
        turned = shape if len(shape) < 2 else (*shape[:-3:-1], *shape[:-2])
        return (*turned, *(1,) * more)[: len(shape) + more]
    turned = (*shape[:-2], shape[-1], shape[-2]) if entry.swaps else shape
    return (*(1,) * more, *turned)[max(0, -more) :]


def from_public(array: np.ndarray, shape: tuple[int, ...], is_torch: bool) -> np.ndarray:
    """Lays an entry out as a variable of this shape."""
    if not is_torch or len(shape) < 2:
        return array.reshape(shape)
    turned = array.reshape(*shape[:-3:-1], *shape[:-2])
    return turned.transpose(*range(2, turned.ndim), 1, 0)


def to_public(array: np.ndarray, shape: tuple[int, ...], is_torch: bool) -> np.ndarray:
    """Lays a variable out as an entry of this shape."""
    if is_torch and array.ndim >= 2:
        array = array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))
    return np.ascontiguousarray(array.reshape(shape))
