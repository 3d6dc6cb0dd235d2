"""Weights in float16."""

from typing import Any

import numpy as np

# Smaller constants stay as they are: they are scalars, biases and shapes.
_LEAST_ELEMENTS = 256


def is_large(values: Any) -> bool:
    """Whether an array is one of the weights that are stored in float16."""
    return values.dtype == np.float32 and values.size >= _LEAST_ELEMENTS


def halved(values: Any) -> np.ndarray:
    """Returns an array in float16; values that it cannot hold become its greatest."""
    limit = np.finfo(np.float16).max
    return np.clip(np.asarray(values), -limit, limit).astype(np.float16)
