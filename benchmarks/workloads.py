"""The layers that are measured: named, frozen data."""

from typing import NamedTuple


class Workload(NamedTuple):
    """A depthwise layer with 'SAME' padding, for one image."""

    name: str
    size: int
    features: int
    stride: int
    kernel: int = 3


# The distinct depthwise layers of MobileNet V1 at 224×224, https://arxiv.org/abs/1704.04861, table 1.
MOBILENET_V1 = (
    Workload("112x112x32", 112, 32, 1),
    Workload("112x112x64 /2", 112, 64, 2),
    Workload("56x56x128", 56, 128, 1),
    Workload("56x56x128 /2", 56, 128, 2),
    Workload("28x28x256", 28, 256, 1),
    Workload("28x28x256 /2", 28, 256, 2),
    Workload("14x14x512", 14, 512, 1),
    Workload("14x14x512 /2", 14, 512, 2),
    Workload("7x7x1024", 7, 1024, 1),
)
