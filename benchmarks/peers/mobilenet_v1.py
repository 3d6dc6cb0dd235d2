"""MobileNet V1 as the contenders see it: weights in a file, under the names of jds's own model. NumPy only."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.workloads import normal

# The constants of `jds.models.MobileNetV1`.
EPSILON, NORM_MOMENTUM = 1e-3, 0.99


class Conv(NamedTuple):
    """A convolution with 'SAME' padding, and the normalization and ReLU after it."""

    kernel: str
    norm: str
    stride: int
    groups: int


def convolutions(weights: dict[str, np.ndarray]) -> list[Conv]:
    """The network's convolutions in order; the mean over all positions and the classifier come after them."""
    rows = [Conv("stem.conv.kernel", "stem.norm", 2, 1)]
    for block, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)):
        features = weights[f"blocks.{block}.depthwise.kernel"].shape[-1]
        rows += [
            Conv(f"blocks.{block}.depthwise.kernel", f"blocks.{block}.depthwise_norm", stride, features),
            Conv(f"blocks.{block}.pointwise.kernel", f"blocks.{block}.pointwise_norm", 1, 1),
        ]
    return rows


def load(spec: dict[str, Any]) -> dict[str, np.ndarray]:
    with np.load(spec["weights"]) as arrays:
        return dict(arrays)


def images(spec: dict[str, Any]) -> np.ndarray:
    """`(batch, height, width, 3)`."""
    return normal(0, spec["batch"], spec["image_size"], spec["image_size"], 3)


def labels(spec: dict[str, Any]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1000, spec["batch"], np.int32)
