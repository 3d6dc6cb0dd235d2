"""The convolutions, and the products with weight matrices, of an analyzed program."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jds.cost import Layer
from jds.cost._program import Operation


class Product(NamedTuple):
    """A convolution or a product with a weight matrix, with sizes for one example.

    Attributes:
      operation: the operation that it was read from.
      number: index of the operation in the program.
      input_size: spatial sizes and number of features of the input.
      out_features: number of output features.
      kernel_size, strides, padding, kernel_dilation, groups: parameters of the convolution.
    """

    operation: Operation
    number: int
    input_size: tuple[int, ...]
    out_features: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    kernel_dilation: tuple[int, ...]
    groups: int

    @property
    def name(self) -> str:
        return "/".join(self.operation.path)

    @property
    def in_features(self) -> int:
        return self.input_size[-1]

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.in_features > 1

    @property
    def is_pointwise(self) -> bool:
        steps = {*self.kernel_size, *self.strides}
        return steps == {1} and self.groups == 1 and self.padding in ("SAME", "VALID")

    def layer(self, name: str, **others: Any) -> Layer:
        """Returns the product as a layer, with some fields overridden."""
        fields: dict[str, Any] = {
            "input_size": self.input_size,
            "out_features": self.out_features,
            "kernel_size": self.kernel_size,
            "strides": _one_for_all(self.strides),
            "padding": self.padding,
            "kernel_dilation": _one_for_all(self.kernel_dilation),
            "feature_group_count": self.groups,
            "separable": False,
        }
        return Layer(name, **(fields | others))


def read_product(operation: Operation, number: int) -> Product:
    equation = operation.equation
    lhs, rhs = (aval.shape for aval in equation.inputs[:2])
    (out,) = equation.outputs
    if equation.primitive == "conv_general_dilated":
        params = equation.params
        numbers = params["dimension_numbers"]
        if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
            raise NotImplementedError(f"network_layers: {operation.path} is a transposed convolution or a gradient")
        sizes = tuple(lhs[axis] for axis in numbers.lhs_spec[2:])
        kernel = tuple(rhs[axis] for axis in numbers.rhs_spec[2:])
        results = tuple(out.shape[axis] for axis in numbers.out_spec[2:])
        strides, dilation = tuple(params["window_strides"]), tuple(params["rhs_dilation"])
        return Product(
            operation=operation,
            number=number,
            input_size=(*sizes, lhs[numbers.lhs_spec[1]]),
            out_features=out.shape[numbers.out_spec[1]],
            kernel_size=kernel,
            strides=strides,
            padding=_padding(tuple(params["padding"]), sizes, results, kernel, strides, dilation),
            kernel_dilation=dilation,
            groups=params["feature_group_count"],
        )
    # A product with a weight matrix is a pointwise convolution.
    (contracted, _), _ = equation.params["dimension_numbers"]
    features = math.prod(lhs[axis] for axis in contracted)
    positions = tuple(size for axis, size in enumerate(lhs) if axis not in contracted)[1:]
    if not 1 <= len(positions) <= 3:
        positions = (1, 1) if not positions else (math.prod(positions),)
    ones = (1,) * len(positions)
    return Product(
        operation=operation,
        number=number,
        input_size=(*positions, features),
        out_features=operation.cost.counts.multiplications // (math.prod(positions) * features)
        if operation.cost
        else 0,
        kernel_size=ones,
        strides=ones,
        padding="SAME",
        kernel_dilation=ones,
        groups=1,
    )


def _padding(
    pads: tuple[tuple[int, int], ...],
    sizes: Sequence[int],
    results: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> str | tuple[tuple[int, int], ...]:
    """Returns `"SAME"` if it is equivalent to this padding, otherwise the padding."""
    totals = [
        max(0, (-(-size // stride) - 1) * stride + (taps - 1) * step + 1 - size)
        for size, taps, stride, step in zip(sizes, kernel, strides, dilation, strict=True)
    ]
    return "SAME" if pads == tuple((total // 2, total - total // 2) for total in totals) else pads


def _one_for_all(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    return sizes[0] if len(set(sizes)) == 1 else sizes
