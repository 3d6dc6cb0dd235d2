"""Arrays in files that are read on demand."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LazyArray:
    """An array with known shape and dtype, which `numpy.asarray` reads.

    Attributes:
      shape: shape of the array.
      dtype: dtype of the array.
      load: function that reads the array.
    """

    shape: Shape
    dtype: np.dtype
    load: Callable[[], np.ndarray]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.load()
        return array if dtype is None else array.astype(dtype)

    def then(self, shape: Shape, change: Callable[[np.ndarray], np.ndarray]) -> "LazyArray":
        """Returns a lazy array that applies `change` after reading; it has the given shape and the same dtype."""
        return LazyArray(shape, self.dtype, lambda: change(self.load()))
