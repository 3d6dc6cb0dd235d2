"""Weights that depend only on a checkpoint entry's name and shape, so that no file of weights is needed."""

import zlib
from collections.abc import Mapping

import numpy as np


def filled(shapes: Mapping[str, tuple[int, ...]], gain: float) -> dict[str, np.ndarray]:
    """Makes the entries of a checkpoint in PyTorch's layout from their names and shapes.

    The gain scales the kernels relative to the size that keeps the variance after a ReLU. If it is too small for a
    network, only the biases reach the logits; if it is too large, rounding determines them.
    """
    return {name: _entry(name, shape, gain) for name, shape in shapes.items()}


def _entry(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    match name.rpartition(".")[2]:
        case "num_batches_tracked":
            return np.zeros(shape, np.int64)
        case "running_mean":
            return np.float32(0.02) * noise
        case "running_var":
            return 1 + np.float32(0.2) * abs(noise)
        case _ if len(shape) >= 2:
            return (noise * gain * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        case "bias":
            return np.float32(0.02) * noise
    return 1 + np.float32(0.1) * noise
