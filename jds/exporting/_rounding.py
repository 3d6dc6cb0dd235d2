"""What rounding to 8 bits costs, layer by layer.

Each layer is rounded alone, its weights per channel and its input as a whole, everything else in float32. One layer
often holds most of the error of a network: https://arxiv.org/abs/1806.08342 describes the scheme.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jds.exporting._layers import Layer, evaluate
from jds.exporting._photographs import batches
from jds.exporting._prepare import Prepared
from jds.ops import accelerate

# Photographs on which each layer is tried.
_PHOTOGRAPHS = 16


def rounding_errors(prepared: Prepared, images: np.ndarray) -> dict[str, float]:
    """Returns the signal-to-noise ratio of the results, in dB, with each layer alone rounded, the worst first.

    Args:
      prepared: a network.
      images: photographs, as the network takes them.
    """
    jaxpr, layers, constants = prepared.jaxpr, prepared.layers, prepared.constants
    batch = next(iter(prepared.inputs.values())).shape[0]
    parts = [jnp.asarray(part) for part in batches(images[:_PHOTOGRAPHS], batch)]
    places = {layer.equation: (number, layer) for number, layer in enumerate(layers)}

    @jax.jit
    @accelerate
    def ranges(constants: Any, part: jax.Array) -> list[jax.Array]:
        """Least and greatest input of each layer."""
        found: list[jax.Array] = []

        def watch(place: int, call: Callable[..., list[Any]], operands: list[Any]) -> list[Any]:
            if place in places:
                moving = operands[1 - places[place][1].weights]
                found.append(jnp.stack([moving.min(), moving.max()]))
            return call(*operands)

        evaluate(jaxpr, [*constants, part], watch)
        return found

    @jax.jit
    @accelerate
    def results(constants: Any, part: jax.Array, limits: Any, rounded: jax.Array) -> jax.Array:
        """Results with layer number `rounded` rounded; -1 for none."""

        def round_one(place: int, call: Callable[..., list[Any]], operands: list[Any]) -> list[Any]:
            if place not in places:
                return call(*operands)
            number, layer = places[place]
            ready = [_rounded(operand, limits[number]) for operand in operands]
            ready[layer.weights] = _rounded_weights(operands[layer.weights], layer)
            return call(*(jnp.where(rounded == number, *pair) for pair in zip(ready, operands, strict=True)))

        return jnp.concatenate([out.ravel() for out in evaluate(jaxpr, [*constants, part], round_one)])

    seen = np.stack([np.stack(ranges(constants, part)) for part in parts])
    limits = jnp.stack([seen[..., 0].min(0), seen[..., 1].max(0)], -1)
    plain = [np.asarray(results(constants, part, limits, jnp.int32(-1))) for part in parts]
    ratios = {}
    for number, layer in enumerate(layers):
        got = [np.asarray(results(constants, part, limits, jnp.int32(number))) for part in parts]
        ratios[layer.name] = signal_to_noise(got, plain)
    return dict(sorted(ratios.items(), key=lambda item: item[1]))


def signal_to_noise(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """Returns the ratio of the wanted results to the error, in dB."""
    signal = sum(float(np.square(array.astype(np.float64)).sum()) for array in wanted)
    noise = sum(float(np.square(one.astype(np.float64) - other).sum()) for one, other in zip(got, wanted, strict=True))
    return 10 * float(np.log10(max(signal, 1e-30) / max(noise, 1e-30)))


def _rounded_weights(weights: jax.Array, layer: Layer) -> jax.Array:
    summed = tuple(axis for axis in range(weights.ndim) if axis not in layer.features)
    scale = jnp.maximum(jnp.abs(weights).max(summed, keepdims=True), 1e-30) / 127
    return (jnp.round(weights / scale) * scale).astype(weights.dtype)


def _rounded(values: jax.Array, limits: jax.Array) -> jax.Array:
    least, greatest = jnp.minimum(limits[0], 0), jnp.maximum(limits[1], 0)
    scale = jnp.maximum(greatest - least, 1e-30) / 255
    zero = jnp.round(-least / scale)
    return ((jnp.clip(jnp.round(values / scale) + zero, 0, 255) - zero) * scale).astype(values.dtype)
