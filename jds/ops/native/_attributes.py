"""The kernels' non-array arguments, passed as attributes of XLA's calls."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jds.ops._fused_block import Step
from jds.ops.native import _library

MAX_AXES = 3


class AxisGeometry(NamedTuple):
    """The geometry of one axis: which positions of three arrays belong together.

    These are the positions with `long_step * long + short_step * short - low == moving_step * moving`; see
    `src/kernels/params.h`.
    """

    long_step: int = 1
    short_step: int = 1
    low: int = 0
    moving_step: int = 1


def geometry_attributes(axes: Sequence[AxisGeometry]) -> dict[str, np.ndarray]:
    """Returns the attributes for up to three axes; missing axes are added in front."""
    padded = [AxisGeometry()] * (MAX_AXES - len(axes)) + list(axes)
    return {
        "long_steps": _integers(axis.long_step for axis in padded),
        "short_steps": _integers(axis.short_step for axis in padded),
        "low": _integers(axis.low for axis in padded),
        "moving_steps": _integers(axis.moving_step for axis in padded),
    }


def epilogue_attributes(steps: Sequence[Step]) -> dict[str, Any]:
    """Returns the attributes for steps whose activations are named or None."""
    attributes = activation_attributes(
        [step.has_scale for step in steps], [step.has_bias for step in steps], [step.activation for step in steps]
    )
    return attributes | {"has_skip": steps[-1].has_skip}


def activation_attributes(
    has_scale: Sequence[int], has_bias: Sequence[int], activations: Sequence[Any]
) -> dict[str, np.ndarray]:
    """Returns the attributes for steps whose activations are named or None."""
    names = _library.activations()
    return {
        "has_scale": _integers(has_scale),
        "has_bias": _integers(has_bias),
        "activation": _integers(names.index(name or "none") for name in activations),
    }


def no_epilogue_attributes() -> dict[str, Any]:
    """Returns the attributes for one step without an epilogue."""
    return activation_attributes([0], [0], [None]) | {"has_skip": False}


def _integers(numbers: Iterable[int]) -> np.ndarray:
    return np.array(list(numbers), np.int64)
