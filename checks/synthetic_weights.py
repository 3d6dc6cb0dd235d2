"""Weights that depend on the name and the shape of an entry of a checkpoint alone, so that none has to be passed on."""

import zlib
from collections.abc import Mapping

import numpy as np


def filled(shapes: Mapping[str, tuple[int, ...]], gain: float) -> dict[str, np.ndarray]:
    """The entries of a checkpoint in PyTorch's layout, by their names and shapes.

    The gain says how large the kernels are, relative to what keeps the variance behind a ReLU. With less than a
    network's own right one, biases are all that arrives at the logits; with more, a rounding decides.
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
