"""Ordinary convolutions, and their input gradients, by the kernel for windows."""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jds.ops._named_array import NamedArray
from jds.ops._recognize import Axis, Form
from jds.ops.native._attributes import MAX_AXES, AxisGeometry, geometry_attributes, no_epilogue_attributes
from jds.ops.native._kernel_call import result_dtype, run_kernel, three_axes

# With larger windows, the tiles of an ordinary convolution do not stay in the cache.
MAX_WINDOW = 1024
# Calls of the kernel for the phases of dilated inputs: those of two axes with three phases each.
_MAX_CALLS = 9


class _Phase(NamedTuple):
    """Every so many results along an axis, which need only some of the kernel's positions.

    Attributes:
      positions: the kernel's positions.
      taps: their number.
      geometry: that of the phase's own convolution.
    """

    positions: slice
    taps: int
    geometry: AxisGeometry


def unsupported_ordinary(form: Form) -> str | None:
    """Returns the reason why the kernel cannot compute this ordinary convolution, or None if it can."""
    if any(axis.lhs_dilation > 1 and (axis.stride, axis.rhs_dilation) != (1, 1) for axis in form.axes):
        return "`native` dilates the inputs of an ordinary convolution only if nothing else is dilated or strided"
    phases = [_phases(axis) for axis in form.axes]
    window = form.in_features * math.prod(max(phase.taps for phase in own) for own in phases)
    if window > MAX_WINDOW:
        return f"`native` supports windows of at most {MAX_WINDOW} elements, not {window}"
    calls = len(_alike(phases))
    if calls > _MAX_CALLS:
        return f"`native` supports at most {_MAX_CALLS} kinds of phases of dilated inputs, not {calls}"
    return None


def ordinary(left: NamedArray, right: NamedArray, form: Form) -> NamedArray:
    """Computes a convolution that `unsupported_ordinary` does not object to.

    With dilated inputs, as in the gradient of a convolution with strides, most products would be with zeros. Each phase
    of the results is then a convolution without dilation, and the phases are interleaved.
    """
    images = left.arrange(["b", *three_axes(form), "g", "i"]).array.squeeze(-2)
    kernel = right.arrange([*form.spatial, "g", "i", "m"]).array.squeeze(-3)
    phases = [_phases(axis) for axis in form.axes]
    sizes = [-(-axis.output // len(own)) for axis, own in zip(form.axes, phases, strict=True)]
    parts: dict[tuple[int, ...], jax.Array] = {}
    for group in _alike(phases):
        kernels = [kernel[tuple(phase.positions for phase in chosen)] for chosen in group.values()]
        geometry = [phase.geometry for phase in next(iter(group.values()))]
        out = _convolve(images, jnp.concatenate(kernels, -1), geometry, sizes, form)
        parts |= dict(zip(group, jnp.split(out, len(group), -1), strict=True))
    results = _interleave(parts, [len(own) for own in phases])
    cut = results[(slice(None), *(slice(axis.output) for axis in form.axes))]
    return NamedArray(jnp.expand_dims(cut, -2), ("b", *form.spatial, "g", "m"))


def _phases(axis: Axis) -> list[_Phase]:
    step = axis.lhs_dilation
    if step == 1:
        geometry = AxisGeometry(long_step=axis.stride, short_step=axis.rhs_dilation, low=axis.low)
        return [_Phase(slice(None), axis.kernel, geometry)]
    found = []
    for phase in range(step):
        first = (axis.low - phase) % step
        taps = len(range(first, axis.kernel, step))
        found.append(_Phase(slice(first, None, step), taps, AxisGeometry(low=(axis.low - phase - first) // step)))
    return found


def _alike(phases: list[list[_Phase]]) -> list[dict[tuple[int, ...], tuple[_Phase, ...]]]:
    """Returns the phases over all axes by their places, grouped by the geometry and the size of their kernels."""
    groups: dict[object, dict[tuple[int, ...], tuple[_Phase, ...]]] = {}
    places = itertools.product(*(range(len(own)) for own in phases))
    for place, chosen in zip(places, itertools.product(*phases), strict=True):
        groups.setdefault(tuple((phase.taps, phase.geometry) for phase in chosen), {})[place] = chosen
    return list(groups.values())


def _convolve(
    images: jax.Array, kernel: jax.Array, geometry: list[AxisGeometry], sizes: list[int], form: Form
) -> jax.Array:
    shape, dtype, ones = (*sizes, kernel.shape[-1]), result_dtype(form), (1,) * (MAX_AXES - len(sizes))
    batch = images.shape[0]
    if 0 in kernel.shape:
        return jnp.zeros((batch, *shape), dtype)
    attributes = geometry_attributes(geometry) | no_epilogue_attributes()
    out = jax.ShapeDtypeStruct((batch, *ones, *shape), dtype)
    result = run_kernel("jds_ordinary", attributes, images, kernel.reshape(*ones, *kernel.shape), out)
    return result.reshape(batch, *shape)


def _interleave(parts: Mapping[tuple[int, ...], jax.Array], counts: list[int]) -> jax.Array:
    """Returns the phases, `(batch, *sizes, features)`, as one array, `(batch, *(count * size), features)`."""
    if len(parts) == 1:
        return parts[(0,) * len(counts)]
    rank = len(counts)
    together = jnp.stack([parts[place] for place in sorted(parts)], -2)  # of one call's phases, it is the call's result
    batch, *sizes, _, features = together.shape
    axes = together.reshape(batch, *sizes, *counts, features)
    pairs = [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
    interleaved = axes.transpose(0, *pairs, 1 + 2 * rank)
    return interleaved.reshape(batch, *(size * count for size, count in zip(sizes, counts, strict=True)), features)
