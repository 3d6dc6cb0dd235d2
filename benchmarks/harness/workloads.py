"""The layers that are measured: named, frozen data."""

from typing import NamedTuple

import numpy as np


class Workload(NamedTuple):
    """A depthwise layer with 'SAME' padding and the pointwise layer after it, for one image."""

    name: str
    size: int
    features: int
    stride: int
    out_features: int
    kernel: int = 3

    @property
    def out_size(self) -> int:
        return -(-self.size // self.stride)

    def arrays(self, batch: int) -> tuple[np.ndarray, ...]:
        """Inputs, depthwise and pointwise kernel, and a cotangent of the depthwise step's outputs, channels last."""
        return (
            normal(0, batch, self.size, self.size, self.features),
            normal(1, self.kernel, self.kernel, 1, self.features),
            normal(2, 1, 1, self.features, self.out_features),
            normal(3, batch, self.out_size, self.out_size, self.features),
        )


# The distinct depthwise layers of MobileNet V1 at 224×224, https://arxiv.org/abs/1704.04861, table 1.
# name, size, features, stride, features after the pointwise step
MOBILENET_V1 = (
    Workload("112x112x32", 112, 32, 1, 64),
    Workload("112x112x64 /2", 112, 64, 2, 128),
    Workload("56x56x128", 56, 128, 1, 128),
    Workload("56x56x128 /2", 56, 128, 2, 256),
    Workload("28x28x256", 28, 256, 1, 256),
    Workload("28x28x256 /2", 28, 256, 2, 512),
    Workload("14x14x512", 14, 512, 1, 512),
    Workload("14x14x512 /2", 14, 512, 2, 1024),
    Workload("7x7x1024", 7, 1024, 1, 1024),
)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Normally distributed numbers, the same in every process for a given seed and shape."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)
