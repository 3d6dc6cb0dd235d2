"""Compares an exported file, in its runtime, with the function in JAX."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jds.exporting._description import Layout, as_in_jax, as_stored
from jds.exporting._formats import Content, Format, Session, package_of
from jds.exporting._photographs import Photographs, batches
from jds.exporting._prepare import Prepared
from jds.exporting._report import Check

# The sizes that a free axis gets: a size of 1 may be taken for one to broadcast, and another for the traced one.
_FREE = (1, 2, 5)


def compare(
    prepared: Prepared, form: Format, content: Content, photographs: Photographs | None, layout: Layout | None
) -> Check | str | None:
    """Returns the comparison; or what to install for it; or None if the runtime does not exist for this system."""
    try:
        session = form.open(content)
    except ModuleNotFoundError as error:
        if error.name is None:
            return None
        return f"The file was not run, as its runtime is not installed: pip install {package_of(error)}"
    pairs = _photographed(prepared, photographs, session) if photographs else ((x, x) for x in _made_up(prepared))
    inputs: list[tuple[np.ndarray, np.ndarray]] = []
    results: list[tuple[np.ndarray, np.ndarray]] = []
    for of_file, of_model in pairs:
        wanted = [np.asarray(array) for array in jax.tree.leaves(prepared.run(*map(jax.device_put, of_model)))]
        got = session.run([as_stored(np.asarray(array), layout) for array in of_file])
        results += zip([as_in_jax(array, layout) for array in got], wanted, strict=True)
        inputs += zip(of_file, of_model, strict=True)
    number = 0 if photographs is None else len(photographs.prepared)
    where = f"{number} photographs" if number else "random numbers"
    return Check(
        runtime=session.runtime,
        inputs=where if prepared.examples is None else "the example arguments",
        error=_greatest(results),
        input_error=_greatest(inputs) if number else None,
        agreement=_agreement(results, number) if number and not prepared.is_of_features else None,
    )


def _agreement(results: Sequence[tuple[np.ndarray, np.ndarray]], number: int) -> float:
    """Returns the share of images with the same first class."""
    same = np.concatenate([got.argmax(-1) == wanted.argmax(-1) for got, wanted in results])
    return float(same[:number].mean())


def _photographed(
    prepared: Prepared, photographs: Photographs, session: Session
) -> Iterator[tuple[tuple[np.ndarray], tuple[np.ndarray]]]:
    """Yields photographs, of the sizes that the file takes: prepared as the file says, and as the model does."""
    (like,) = prepared.inputs.values()
    of_model = photographs.prepared
    of_file = of_model if session.description is None else session.description.prepared(photographs.given)
    for pair in zip(batches(of_file, like.shape[0]), batches(of_model, like.shape[0]), strict=True):
        yield (pair[0],), (pair[1],)


def _made_up(prepared: Prepared) -> Iterator[tuple[Any, ...]]:
    """Yields the examples, or random numbers of the sizes that the file takes."""
    if prepared.examples is not None:
        yield prepared.examples
    else:
        generator = np.random.default_rng(0)
        is_fixed = all(isinstance(size, int) for like in prepared.inputs.values() for size in like.shape)
        for free in _FREE[: 1 if is_fixed else None]:
            yield tuple(_noise(generator, like, free) for like in prepared.inputs.values())


def _noise(generator: np.random.Generator, like: jax.ShapeDtypeStruct, free: int) -> np.ndarray:
    shape = [size if isinstance(size, int) else free for size in like.shape]
    if np.issubdtype(like.dtype, np.integer):
        return generator.integers(0, min(256, np.iinfo(like.dtype).max), shape).astype(like.dtype)
    return generator.standard_normal(shape).astype(like.dtype)


def _greatest(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    return max((_error(got, wanted) for got, wanted in pairs), default=0.0)


def _error(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-30)
    # Infinities, and results that are not numbers, are right if they are at the same places.
    is_same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    error = np.where(is_same, 0, np.abs(got - wanted)).max(initial=0)
    return float(error / scale) if np.isfinite(error) else float("inf")
