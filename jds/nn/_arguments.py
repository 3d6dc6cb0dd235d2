"""Checks the arguments of the modules."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flax import nnx


def check_features(module: str, **numbers: Any) -> None:
    """Raises ValueError unless each number is a positive int."""
    for name, number in numbers.items():
        if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{module}: `{name}` must be a positive int, got {number!r}")


def check_share(module: str, **numbers: Any) -> None:
    """Raises ValueError unless each number is at least 0 and less than 1."""
    for name, number in numbers.items():
        if not isinstance(number, int | float | np.number) or not 0 <= number < 1:
            raise ValueError(f"{module}: `{name}` must be at least 0 and less than 1, got {number!r}")


def check_norm(module: str, **norms: Any) -> None:
    """Raises TypeError unless each is None or a callable that makes a normalization."""
    for name, norm in norms.items():
        if norm is None or (callable(norm) and not isinstance(norm, nnx.Module)):
            continue
        got = f"an instance of {type(norm).__name__}" if isinstance(norm, nnx.Module) else repr(norm)
        raise TypeError(
            f"{module}: `{name}` must make a normalization, called as norm(features, rngs=rngs): a class such as "
            f"`nnx.BatchNorm`, or a `functools.partial` of one; got {got}"
        )


def check_activation(module: str, **activations: Callable | None) -> None:
    """Raises TypeError unless each is a callable or None."""
    for name, activation in activations.items():
        if activation is not None and (not callable(activation) or isinstance(activation, type)):
            raise TypeError(
                f"{module}: `{name}` must be a function of an array, such as `jax.nn.relu`, or None, got {activation!r}"
            )
