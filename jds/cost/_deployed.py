"""A program as it is deployed, with its floating-point numbers in another dtype."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jds.cost._program import Program, Value

DeployedDtype = Literal["float16", "bfloat16", "int8"]


def deployed(program: Program, dtype: str) -> Program:
    """Returns a program whose floating-point arrays are stored in `dtype`."""
    return _deployed(program, dtype, {})


def _deployed(program: Program, dtype: str, done: dict[int, Program]) -> Program:
    """Returns a deployed program; `done` are the branches that are, which occur in several places."""
    if id(program) not in done:
        done[id(program)] = dataclasses.replace(
            program,
            conventions=program.conventions._replace(dtype=dtype),
            values=[_deployed_value(value, dtype) for value in program.values],
            other_branches={
                number: branches._replace(
                    programs=tuple(_deployed(branch, dtype, done) for branch in branches.programs),
                    counted=branches.counted and _deployed(branches.counted, dtype, done),
                )
                for number, branches in program.other_branches.items()
            },
        )
    return done[id(program)]


def _deployed_value(value: Value, dtype: str) -> Value:
    if not is_floating(value.dtype):
        return value
    return dataclasses.replace(value, dtype=jnp.dtype(dtype), bytes=value.elements * jnp.dtype(dtype).itemsize)


@functools.cache
def is_floating(dtype: Any) -> bool:
    """Whether arrays of a dtype hold real floating-point numbers."""
    return dtype is not None and not jnp.issubdtype(dtype, jax.dtypes.extended) and jnp.issubdtype(dtype, jnp.floating)
