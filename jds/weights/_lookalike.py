"""Recognizes which network weights belong to, whatever their names."""

import collections
import hashlib
import json

from jds.weights._found import Found


def kernels_of(found: Found) -> str:
    """Returns a short hash of the number of kernels of each size and number of features, ignoring 1×1 kernels.

    The hash is therefore independent of the names and layouts of the packages, and of the number of classes.

    Example:
      >>> import numpy as np
      >>> from jds.weights._found import Found
      >>> from jds.weights._lookalike import kernels_of
      >>> torch, keras = {"conv.weight": np.ones((16, 8, 3, 3))}, {"conv/kernel": np.ones((3, 3, 8, 16))}
      >>> kernels_of(Found(torch)) == kernels_of(Found(keras)) != kernels_of(Found())
      True
    """
    shapes = [(array.shape, "/" in name) for name, array in found.arrays.items()]
    shapes += [(array.shape, True) for layer in found.layers or () for array in layer.arrays]
    sizes = [
        (shape[:2], sorted(shape[2:])) if is_keras else (shape[2:], sorted(shape[:2]))
        for shape, is_keras in shapes
        if len(shape) == 4
    ]
    counts = collections.Counter((*window, *features) for window, features in sizes if max(window) > 1)
    return hashlib.sha256(json.dumps(sorted(counts.items())).encode()).hexdigest()[:12]
