"""Writes and opens artifacts."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jds.exporting._attached import attach, attached
from jds.exporting._blame import equations
from jds.exporting._formats import Calibration, Converted, Session, counted, in_words
from jds.exporting._options import Options
from jds.exporting._prepare import Prepared
from jds.ops._lowering import override

_PLATFORMS = ("cpu", "cuda", "tpu")


def convert(prepared: Prepared, options: Options, calibration: Calibration | None) -> Converted:
    """Converts a program to an artifact.

    Convolutions are lowered for each platform as jds chooses for programs that run without it, whichever implementation
    the model names: its own would be the slowest on one platform, or not run on another.

    Raises:
      NotImplementedError: an operation cannot be lowered for one of the platforms.
    """
    run, results = prepared.traced(float16=options.float16), prepared.results()

    def call(*arguments: Any) -> Any:
        return results.unflatten(run(*jax.tree.leaves(arguments)))

    with override("auto"):
        exported = jax.export.export(jax.jit(call), platforms=_PLATFORMS)(*prepared.arguments)
    return Converted(
        content=attach(bytes(exported.serialize()), prepared.description),
        format=f"jax.export, calling convention {exported.calling_convention_version}, for {', '.join(_PLATFORMS)}",
        layers=counted(str(equation.primitive) for equation in equations(prepared.jaxpr)),
        inputs=_described(prepared.inputs, exported.in_avals),
        outputs=_described(prepared.output_names, exported.out_avals),
        packages=("jaxlib",),
    )


def open(content: bytes) -> Session:
    """Opens an artifact in JAX."""
    exported: Any = jax.export.deserialize(bytearray(content))
    compiled = jax.jit(exported.call)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        arguments, _ = jax.tree.unflatten(exported.in_tree, arrays)
        return [np.asarray(array) for array in jax.tree.leaves(compiled(*arguments))]

    batch = next((size for size in exported.in_avals[0].shape[:1] if isinstance(size, int)), None)
    return Session(f"JAX {jax.__version__} on {jax.default_backend()}", attached(content), run, batch)


def _described(names: Iterable[str], avals: Iterable[Any]) -> dict[str, str]:
    return {name: in_words(aval.dtype, aval.shape) for name, aval in zip(names, avals, strict=True)}
