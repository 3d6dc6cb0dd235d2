"""The peak rates of a device."""

from collections.abc import Mapping
from typing import NamedTuple


class Peak(NamedTuple):
    """The peak rates of a device, or of one of its units.

    Attributes:
      name: the device and the unit.
      rates: operations per second by arithmetic: `float64`, `float32`, `tfloat32`, `bfloat16`, `float16` or `int8`.
        Only what the unit computes in is listed, without sparsity. A multiply-add counts as two operations.
      bytes: memory bandwidth in bytes per second.
      source: where the figures are from.
      memory: bytes of memory that a program can use, if known.
      cache: bytes of the last cache before that memory, if known.
      is_from_maker: whether all figures were read in the maker's own documents, or follow from such figures.

    Example:
      >>> from jds import cost
      >>> peak = cost.Peak("my device", {"float32": 1e12, "int8": 4e12}, bytes=1e11, source="its maker")
      >>> peak.rates["int8"] / peak.bytes
      40.0
    """

    name: str
    rates: Mapping[str, float]
    bytes: float
    source: str
    memory: int | None = None
    cache: int | None = None
    is_from_maker: bool = False
