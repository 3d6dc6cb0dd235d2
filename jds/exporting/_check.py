"""Compares an exported file, in its runtime, with the function in JAX."""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jds.exporting._prepare import Prepared
from jds.exporting._report import Check

# The size that a free axis gets.
_FREE = 2


def images(prepared: Prepared, given: Any, *, normalized_in_file: bool) -> np.ndarray | None:
    """Prepares the images that the caller gave, if any, as the file takes them."""
    if given is None:
        return None
    network = prepared.network
    if network is None:
        raise ValueError(
            "export: `check` is for networks of `jds.models`; pass arrays as the example arguments instead"
        )
    if network.preprocessing is None:
        raise ValueError("export: `check` needs the network's preprocessing; set `model.preprocessing` first")
    (like,) = prepared.inputs.values()
    preprocessing = dataclasses.replace(network.preprocessing, image_size=like.shape[1])
    if not normalized_in_file:
        return np.asarray(preprocessing(given))
    channels = len(preprocessing.mean)
    plain = dataclasses.replace(preprocessing, mean=(0.0,) * channels, std=(1.0,) * channels)
    return np.rint(255 * np.asarray(plain(given))).astype(np.uint8)


def compare(
    prepared: Prepared, content: bytes, photographs: np.ndarray | None, channels_are_first: bool
) -> Check | None:
    """Returns the comparison, or None if the runtime is not installed."""
    if not importlib.util.find_spec("onnxruntime"):
        return None
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    errors = []
    for inputs in _batches(prepared, photographs):
        wanted = [np.asarray(array) for array in jax.tree.leaves(prepared.run(*map(jnp.asarray, inputs)))]
        stored = [_moved(np.asarray(array), channels_are_first, (0, 3, 1, 2)) for array in inputs]
        got = session.run(None, dict(zip(prepared.inputs, stored, strict=True)))
        got = [_moved(array, channels_are_first, (0, 2, 3, 1)) for array in got]
        errors += map(_error, got, wanted)
    where = "random numbers" if photographs is None else f"{len(photographs)} images"
    where = where if prepared.examples is None else "the example arguments"
    return Check(f"ONNX Runtime {importlib.metadata.version('onnxruntime')}", where, max(errors, default=0.0))


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


def _moved(array: np.ndarray, channels_are_first: bool, order: tuple[int, ...]) -> np.ndarray:
    return array.transpose(order) if channels_are_first and array.ndim == 4 else array


def _error(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    return float(np.abs(got - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))
