"""Recognizes the form of a convolution equation.

`conv_general_dilated` has many uses: a forward pass, an input gradient, a kernel gradient and the second derivatives
differ only in their sizes and in which index is short. With a single index `g` for feature groups and batch groups, all
of them are

    out[b, g, m, p] = sum over i, k of lhs[b, g, i, x] * rhs[g, i, m, k]

where, on each spatial axis, `stride * p + rhs_dilation * k - low == lhs_dilation * x`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn

from jds._common.convolution_axes import convolution_axes
from jds.ops._fused_block import FusedForm

Index = Literal["kernel", "output", "input"]
Kind = Literal["ordinary", "grouped", "depthwise", "pointwise"]

# The implementations use 32-bit positions.
MAX_NUMBER = 2**31 - 1
# An index is much longer than another if it has at least this many times as many positions.
_MANY = 4
# Stands for a symbolic batch where its size matters for a choice.
_TYPICAL_BATCH = 8
# Groups with at most this many products per pair of positions are as slow in XLA as groups of single features.
_SMALL = 16

_KINDS_IN_WORDS: dict[tuple[Kind, Index], str] = {
    ("depthwise", "kernel"): "depthwise",
    ("depthwise", "output"): "depthwise kernel gradient",
    ("depthwise", "input"): "depthwise with a short input",
    ("ordinary", "output"): "ordinary kernel gradient",
    ("ordinary", "input"): "ordinary with a short input",
    ("grouped", "output"): "grouped kernel gradient",
    ("grouped", "input"): "grouped with a short input",
    ("pointwise", "kernel"): "pointwise",
    ("pointwise", "output"): "pointwise kernel gradient",
    ("pointwise", "input"): "pointwise with an input of one position",
}


class Axis(NamedTuple):
    """One spatial axis: sizes, and `stride * p + rhs_dilation * k - low == lhs_dilation * x`."""

    input: int
    kernel: int
    output: int
    stride: int
    low: int
    lhs_dilation: int
    rhs_dilation: int


class Labels(NamedTuple):
    """The meaning of each dimension of the operands and the result, in order.

    `b`, `g`, `i`, `m` are batch, group, contracted and free features; digits are the spatial axes. A dimension that
    contains groups has two labels, the group's first.
    """

    lhs: tuple[str, ...]
    rhs: tuple[str, ...]
    out: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Form:
    """A convolution equation in canonical terms.

    Attributes:
      kind: `"pointwise"` if one index has a single position, so that the convolution is a matrix product;
        `"depthwise"` if each group has one input or one output channel; otherwise `"grouped"` or `"ordinary"`.
      short: the index with the fewest positions, which is the one to unroll into terms.
      short_features: the two feature sizes of the array with the short index. If one of them is 1, each group of that
        array is a vector, and there is nothing to gain from a matrix product.
      groups: feature groups times batch groups.
      batch_groups: number of batch groups; more than 1 in the kernel gradients of grouped convolutions.
      batch: size of `b`, which may be symbolic.
      in_features, out_features: sizes of `i` and `m`, per group.
      axes: the spatial axes.
      labels: the layouts of the operands and the result.
      out_shape: shape of the result.
      dtype, out_dtype: dtypes of the operands and of the result.
      precision: as in `jax.lax`.
    """

    kind: Kind
    short: Index
    short_features: tuple[int, int]
    groups: int
    batch_groups: int
    batch: Any
    in_features: int
    out_features: int
    axes: tuple[Axis, ...]
    labels: Labels
    out_shape: tuple[Any, ...]
    dtype: jnp.dtype
    out_dtype: jnp.dtype
    precision: Any

    @property
    def terms(self) -> int:
        """Number of positions of the short index."""
        return math.prod(self.sizes(self.short))

    def sizes(self, index: Index) -> list[int]:
        """Returns the spatial sizes of the kernel, the output or the input."""
        return [getattr(axis, index) for axis in self.axes]

    @property
    def spatial(self) -> tuple[str, ...]:
        """Labels of the spatial axes."""
        return tuple(map(str, range(len(self.axes))))

    @property
    def accumulator(self) -> jnp.dtype:
        """Dtype of the accumulator."""
        return jnp.dtype(jnp.float64 if jnp.float64 in (self.dtype, self.out_dtype) else jnp.float32)

    def split_shape(self, labels: Sequence[str], array: Index = "output") -> list[Any]:
        """Returns the shape of an operand or of the output with one dimension per label."""
        features = {"b": self.batch, "g": self.groups, "i": self.in_features, "m": self.out_features}
        return [getattr(self.axes[int(label)], array) if label.isdigit() else features[label] for label in labels]

    def with_batch_of(self, lhs: Any, out: Any, params: Mapping[str, Any]) -> "Form":
        """Returns the form with the batch of this operand and result, which may be symbolic."""
        batch = lhs.shape[params["dimension_numbers"].lhs_spec[0]]
        if isinstance(batch, int):
            return self
        return dataclasses.replace(self, batch=batch, out_shape=out.shape)

    @property
    def is_empty(self) -> bool:
        """Whether an operand or the result has no elements."""
        sizes = (self.groups, self.batch, self.in_features, self.out_features)
        return 0 in sizes or any(0 in (axis.input, axis.kernel, axis.output) for axis in self.axes)

    def __str__(self) -> str:
        return _KINDS_IN_WORDS.get((self.kind, self.short), self.kind)


def recognize(lhs: Any, rhs: Any, out: Any, params: Mapping[str, Any]) -> Form:
    """Returns the form of the equation `out = conv_general_dilated(lhs, rhs, **params)`.

    Args:
      lhs, rhs, out: shapes and dtypes of the operands and the result; all sizes are integers.
      params: the parameters of `conv_general_dilated_p`.
    """
    numbers = params["dimension_numbers"]
    # lax keeps the integers that it was given, which may be NumPy's.
    feature_groups, batch_groups = int(params["feature_group_count"]), int(params["batch_group_count"])
    groups = feature_groups * batch_groups
    axes = tuple(Axis(*each) for each in convolution_axes(lhs, rhs, out, params))
    batch = lhs.shape[numbers.lhs_spec[0]] // batch_groups
    in_features = rhs.shape[numbers.rhs_spec[1]]
    out_features = rhs.shape[numbers.rhs_spec[0]] // groups
    features: dict[Index, tuple[int, int]] = {
        "kernel": (in_features, out_features),
        "output": (batch, out_features),
        "input": (batch, in_features),
    }
    short = _short(axes, groups, features, contracts_batch=batch_groups > 1)
    return Form(
        kind=_kind(groups, features[short], _positions(axes, short)),
        short_features=features[short],
        short=short,
        groups=groups,
        batch_groups=batch_groups,
        batch=batch,
        in_features=in_features,
        out_features=out_features,
        axes=axes,
        labels=_labels(numbers, batch_groups),
        out_shape=out.shape,
        dtype=jnp.dtype(lhs.dtype),
        out_dtype=jnp.dtype(out.dtype),
        precision=params["precision"],
    )


def with_typical_batch(lhs: Any, rhs: Any, out: Any, params: Mapping[str, Any]) -> tuple[Any, Any, Any] | None:
    """Returns the operands and the result with a batch of known size, or None if another size is symbolic.

    The batch does not matter for what is possible, only for what is fast.
    """
    numbers = params["dimension_numbers"]
    if params["batch_group_count"] == 1:
        lhs, out = _with_batch(lhs, numbers.lhs_spec[0]), _with_batch(out, numbers.out_spec[0])
    arrays = lhs, rhs, out
    return arrays if all(isinstance(size, int) for array in arrays for size in array.shape) else None


def _with_batch(array: Any, axis: int) -> Any:
    if isinstance(array.shape[axis], int):
        return array
    shape = list(array.shape)
    shape[axis] = _TYPICAL_BATCH
    return jax.ShapeDtypeStruct(tuple(shape), array.dtype)


def recognize_equation(equation: JaxprEqn) -> Form | FusedForm:
    """Returns the form of a jaxpr equation that is a convolution or a fused block.

    All sizes are integers, except possibly the batch of a convolution.
    """
    operands = tuple(variable.aval for variable in equation.invars)
    if "block" in equation.params:
        return FusedForm(equation.params["block"], operands)
    lhs, rhs = operands
    typical = with_typical_batch(lhs, rhs, equation.outvars[0].aval, equation.params)
    if typical is None:
        raise ValueError("recognize_equation: only the batch of a convolution may be symbolic")
    return recognize(*typical, equation.params)


def _short(
    axes: Sequence[Axis], groups: int, features: dict[Index, tuple[int, int]], *, contracts_batch: bool
) -> Index:
    """Returns the index with the fewest positions, preferring one that makes the equation depthwise.

    The preferred index may have more positions than another, but not many times more. With several groups, and no
    vector among the operands and the result, there is no choice. Batch groups mean a kernel gradient. If the kernel is
    far longer than the result, and the batch (which then holds the features) is larger than the summed features, the
    equation is a per-example gradient. Otherwise it is a forward pass or an input gradient: a batch of 1 does not make
    it depthwise unless the groups are very small.
    """
    indices: tuple[Index, ...] = ("kernel", "output", "input")
    positions: dict[Index, int] = {index: _positions(axes, index) for index in indices}
    if groups > 1 and contracts_batch and min(features["output"]) > 1:
        return "output"
    if groups > 1 and not contracts_batch and min(features["kernel"]) > 1 and math.prod(features["kernel"]) > _SMALL:
        (in_features, _), (batch, _) = features["kernel"], features["output"]
        return "output" if positions["kernel"] >= _MANY * positions["output"] and batch > in_features else "kernel"
    few: list[Index] = [i for i in indices if positions[i] < _MANY * max(1, min(positions.values()))]

    def rank(index: Index) -> tuple[bool, int]:
        return _kind(groups, features[index], positions[index]) == "grouped", positions[index]

    return min(few, key=rank)


def _positions(axes: Sequence[Axis], index: Index) -> int:
    return math.prod(getattr(axis, index) for axis in axes)


def _kind(groups: int, short_features: tuple[int, int], terms: int) -> Kind:
    if groups > 1 and min(short_features) <= 1:
        return "depthwise"
    if terms == 1:
        return "pointwise"
    if max(short_features) <= 1:
        return "depthwise"  # a single channel: depthwise and ordinary are the same
    return "grouped" if groups > 1 else "ordinary"


def _labels(numbers: jax.lax.ConvDimensionNumbers, batch_groups: int) -> Labels:
    spatial = [str(axis) for axis in range(len(numbers.lhs_spec) - 2)]

    def labels(spec: Sequence[int], *names: str) -> tuple[str, ...]:
        by_dimension = dict(zip(spec, [*names, *spatial], strict=True))
        return tuple(label for dimension in sorted(by_dimension) for label in by_dimension[dimension])

    lhs = ("gb", "i") if batch_groups > 1 else ("b", "gi")
    return Labels(
        lhs=labels(numbers.lhs_spec, *lhs),
        rhs=labels(numbers.rhs_spec, "gm", "i"),
        out=labels(numbers.out_spec, "b", "gm"),
    )
