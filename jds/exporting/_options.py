"""The options of `export`, checked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jds.exporting._description import Layout


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of `export`; see there."""

    batch: int | None = 1
    image_size: int | None = None
    layout: Layout | None = None
    opset: int | None = None
    features: bool = False
    normalize: bool = False
    softmax: bool = False
    float16: bool = False
    int8: Any = None
    keep_float: Sequence[str] = ()
    labels: Sequence[str] | None = None
    runtime: Path | None = None

    def __post_init__(self):
        if self.layout not in (None, "NCHW", "NHWC"):
            raise ValueError(f"export: `layout` must be 'NCHW' or 'NHWC', got {self.layout!r}")
        if self.batch is not None and not _is_positive(self.batch):
            raise ValueError(f"export: `batch` must be a positive int, or None for a free batch, got {self.batch!r}")
        if self.image_size is not None and not _is_positive(self.image_size):
            raise ValueError(f"export: `image_size` must be a positive int, got {self.image_size!r}")
        if self.features and self.softmax:
            raise ValueError("export: `softmax` is of logits; leave it out with features=True")
        if self.float16 and self.int8 is not None:
            raise ValueError("export: `float16` and `int8` exclude each other; weights have one format")
        if self.keep_float and self.int8 is None:
            raise ValueError("export: `keep_float` names the layers that int8=photographs leaves in float")
        if isinstance(self.keep_float, str):
            raise TypeError(f"export: `keep_float` must be a sequence of names, got the text {self.keep_float!r}")


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
