"""The quantities that are counted, and their conventions."""

from typing import Literal, NamedTuple

Kind = Literal[
    "ordinary",
    "grouped",
    "depthwise",
    "pointwise",
    "dense",
    "batched",
    "normalization",
    "element-wise",
    "reduction",
    "data movement",
    "random",
    "sorting",
    "transform",
    "communication",
    "unknown",
]


class Counts(NamedTuple):
    """The cost of one or more equations; all counts are exact integers.

    Attributes:
      multiplications: as in textbooks and papers: filter parameters × filter positions × filters for a convolution, and
        rows × depth × columns for a matrix product. Filter positions over padding count; the holes between dilated
        inputs do not. Other operations count as zero.
      macs: multiply-accumulates: the same as `multiplications` or, with `count_padding=False`, only those on data.
      flops: operations on floating-point numbers: 2 per multiply-accumulate, 1 per element of the result of an
        element-wise operation (including comparisons, selections and conversions), 1 per element that a reduction adds.
        For complex numbers, a multiply-accumulate counts 8, a multiplication 6, and any other operation 2.
      transcendentals: number of result elements of exponentials, logarithms, roots, powers, trigonometric and other
        special functions, whose cost is not a fixed number of operations; not included in `flops`.
      integer_operations: like `flops`, for integers and booleans, as used in random numbers and indices.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jds import cost
      >>> cost.analyze(jnp.exp, jax.ShapeDtypeStruct((8,), jnp.float32)).total.counts.transcendentals
      8
    """

    multiplications: int = 0
    macs: int = 0
    flops: int = 0
    transcendentals: int = 0
    integer_operations: int = 0

    # Override the tuple operators, which concatenate and repeat.
    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def __mul__(self, times: int) -> "Counts":  # type: ignore[override]
        return Counts(*(times * a for a in self))
