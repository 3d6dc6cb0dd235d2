"""Arrays of a file that are read when they are asked for."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LazyArray:
    """An array whose shape and dtype are known; `numpy.asarray` reads it.

    Attributes:
      shape: of the array.
      dtype: of the array.
      load: reads it.
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
        """The array that a function makes of this one, of this shape and the same dtype."""
        return LazyArray(shape, self.dtype, lambda: change(self.load()))
