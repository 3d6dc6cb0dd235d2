"""Sizes of arrays, which may be symbolic."""

from collections.abc import Sequence
from typing import Any


def same_shape(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two shapes are equal."""
    return len(one) == len(other) and all(is_size(size, like) for size, like in zip(one, other, strict=True))


def is_size(size: Any, like: Any) -> bool:
    """Whether two sizes are equal."""
    return isinstance(size, int) == isinstance(like, int) and bool(size == like)
