"""Compares an exported file, in its runtime, with the function in JAX."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jds.exporting._description import Layout, as_in_jax, as_stored
from jds.exporting._formats import Format
from jds.exporting._prepare import Prepared
from jds.exporting._report import Check

# The size that a free axis gets.
_FREE = 2


def images(prepared: Prepared, given: Any) -> np.ndarray | None:
    """Prepares the images that the caller gave, if any, as the file takes them."""
    if given is None:
        return None
    network, description = prepared.network, prepared.description
    if network is None or description is None:
        raise ValueError(
            "export: `check` is for networks of `jds.models`; pass arrays as the example arguments instead"
        )
    if description.preprocessing is None:
        raise ValueError("export: `check` needs the network's preprocessing; set `model.preprocessing` first")
    return description.prepared(given)


def compare(
    prepared: Prepared, form: Format, content: bytes, photographs: np.ndarray | None, layout: Layout | None
) -> Check | None:
    """Returns the comparison, or None if the runtime is not installed."""
    try:
        session = form.open(content)
    except ModuleNotFoundError:
        return None
    errors = []
    for inputs in _batches(prepared, photographs):
        wanted = [np.asarray(array) for array in jax.tree.leaves(prepared.run(*map(jnp.asarray, inputs)))]
        got = session.run([as_stored(np.asarray(array), layout) for array in inputs])
        errors += map(_error, [as_in_jax(array, layout) for array in got], wanted)
    where = "random numbers" if photographs is None else f"{len(photographs)} images"
    where = where if prepared.examples is None else "the example arguments"
    return Check(session.runtime, where, max(errors, default=0.0))


def _batches(prepared: Prepared, photographs: np.ndarray | None) -> Iterator[tuple[Any, ...]]:
    """Yields inputs, of the sizes that the file takes."""
    if photographs is not None:
        (like,) = prepared.inputs.values()
        size = like.shape[0] if isinstance(like.shape[0], int) else len(photographs)
        for start in range(0, len(photographs), size):
            part = photographs[start : start + size]
            # The last batch is filled with its first image.
            yield (np.concatenate([part, *[part[:1]] * (size - len(part))]),)
    elif prepared.examples is not None:
        yield prepared.examples
    else:
        generator = np.random.default_rng(0)
        yield tuple(_noise(generator, like) for like in prepared.inputs.values())


def _noise(generator: np.random.Generator, like: jax.ShapeDtypeStruct) -> np.ndarray:
    shape = [size if isinstance(size, int) else _FREE for size in like.shape]
    if np.issubdtype(like.dtype, np.integer):
        return generator.integers(0, min(256, np.iinfo(like.dtype).max), shape).astype(like.dtype)
    return generator.standard_normal(shape).astype(like.dtype)


def _error(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    return float(np.abs(got - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))
