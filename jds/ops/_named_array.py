"""Arrays with named dimensions, which let one algorithm handle every layout."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax


@dataclasses.dataclass(frozen=True)
class NamedArray:
    """An array with one label per dimension: `b`, `g`, `i`, `m`, and a digit per spatial axis."""

    array: jax.Array
    labels: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each dimension."""
        return dict(zip(self.labels, self.array.shape, strict=True))

    def arrange(self, labels: Sequence[str]) -> "NamedArray":
        """Transposes to the order of `labels`; a missing label becomes a dimension of size 1."""
        present = [label for label in labels if label in self.labels]
        sizes = self.sizes
        long = {label for label, size in sizes.items() if not isinstance(size, int) or size > 1}
        if [label for label in self.labels if label in long] == [label for label in present if label in long]:
            # A reshape is free in XLA; a transpose may be assigned a different layout and become a copy.
            return NamedArray(lax.reshape(self.array, [sizes.get(label, 1) for label in labels]), tuple(labels))
        array = lax.transpose(self.array, [self.labels.index(label) for label in present])
        missing = [dimension for dimension, label in enumerate(labels) if label not in self.labels]
        return NamedArray(lax.expand_dims(array, missing), tuple(labels))

    def window(self, starts: Sequence, counts: Sequence[int], steps: Sequence[int] | None = None) -> "NamedArray":
        """Cuts out `counts` positions, `steps` apart, on the spatial axes; starts may be traced."""
        at: list = [0] * self.array.ndim
        size, stride = list(self.array.shape), [1] * self.array.ndim
        for axis, (start, count, step) in enumerate(zip(starts, counts, steps or [1] * len(counts), strict=True)):
            dimension = self.labels.index(str(axis))
            at[dimension], size[dimension], stride[dimension] = start, (count - 1) * step + 1, step
        if all(isinstance(start, int) for start in at):
            array = lax.slice(self.array, at, [start + n for start, n in zip(at, size, strict=True)], stride)
        else:
            at = [lax.convert_element_type(start, jnp.int32) for start in at]
            array = lax.slice(lax.dynamic_slice(self.array, at, size), [0] * len(at), size, stride)
        return NamedArray(array, self.labels)

    def pad(self, widths: dict[str, tuple[int, int]]) -> "NamedArray":
        """Pads the given dimensions with zeros, before and after."""
        if not any(low or high for low, high in widths.values()):
            return self
        config = [(*widths.get(label, (0, 0)), 0) for label in self.labels]
        return NamedArray(lax.pad(self.array, jnp.zeros((), self.array.dtype), config), self.labels)

    def without(self, labels: Sequence[str]) -> "NamedArray":
        """Drops dimensions of size 1."""
        array = lax.squeeze(self.array, [self.labels.index(label) for label in labels])
        return NamedArray(array, tuple(label for label in self.labels if label not in labels))

    def sum(self, labels: Sequence[str]) -> "NamedArray":
        """Sums over dimensions."""
        if math.prod(self.sizes[label] for label in labels) == 1:
            return self.without(labels)
        array = self.array.sum([self.labels.index(label) for label in labels])
        return NamedArray(array, tuple(label for label in self.labels if label not in labels))


def multiply(a: NamedArray, b: NamedArray, dtype: jnp.dtype) -> NamedArray:
    """Multiplies two arrays elementwise; they have the same labels, and their sizes agree or are 1."""
    return NamedArray(a.array.astype(dtype) * b.array.astype(dtype), a.labels)


def contract(a: NamedArray, b: NamedArray, over: Sequence[str], dtype: jnp.dtype, precision) -> NamedArray:
    """Sums products over the labels `over`, as a matrix product for each group, in `dtype`."""
    if a.sizes["g"] == 1:
        a, b = a.without("g"), b.without("g")
    batch = [label for label in a.labels if label == "g"]
    free = [[label for label in array.labels if label not in (*batch, *over)] for array in (a, b)]
    array = lax.dot_general(
        a.array,
        b.array,
        (
            ([a.labels.index(label) for label in over], [b.labels.index(label) for label in over]),
            ([a.labels.index(label) for label in batch], [b.labels.index(label) for label in batch]),
        ),
        precision=precision,
        preferred_element_type=dtype,
    )
    return NamedArray(array, (*batch, *free[0], *free[1]))
