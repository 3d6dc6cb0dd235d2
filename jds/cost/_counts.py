"""What is counted, and the conventions of each number."""

from typing import Literal, NamedTuple

Kind = Literal[
    "ordinary",
    "grouped",
    "depthwise",
    "pointwise",
    "dense",
    "attention",
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
    """What one equation costs, or several together; all exact integers.

    Attributes:
      multiplications: as in textbooks and papers: filter parameters × filter positions × filters of a convolution, and
        rows × depth × columns of a matrix product. Filter positions over padding count; the holes between dilated
        inputs do not. Nothing else has any.
      macs: multiply-accumulates; as `multiplications` or, with `count_padding=False`, only those that touch data.
      flops: operations on floating-point numbers: 2 per multiply-accumulate, 1 per element of the result of
        an element-wise operation (a comparison, a selection and a conversion included), 1 per element that a
        reduction adds. Complex numbers have 8 for a multiply-accumulate, 6 for a multiplication, 2 for any other.
      transcendentals: elements of results of exponentials, logarithms, roots, powers, trigonometric and other special
        functions, which have no such number; they are not in `flops`.
      integer_operations: those of `flops` on integers and booleans, which random numbers and indices are made of.

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

    # A tuple's own would join and repeat; a sum of counts is what everybody expects.
    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def __mul__(self, times: int) -> "Counts":  # type: ignore[override]
        return Counts(*(times * a for a in self))
