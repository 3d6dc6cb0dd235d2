"""Rules for convolutions and matrix products."""

import math

from jds.cost._counts import Counts, Kind
from jds.cost.rules._table import Cost, Equation, multiply_accumulates, register
from jds.cost.rules._windows import WindowAxis, convolution_axes, products


@register("conv_general_dilated")
def _convolution(equation: Equation) -> Cost:
    rhs, (out,), numbers = equation.inputs[1], equation.outputs, equation.params["dimension_numbers"]
    axes = convolution_axes(equation)
    features = rhs.shape[numbers.rhs_spec[1]] * out.shape[numbers.out_spec[0]] * out.shape[numbers.out_spec[1]]
    counted = features * math.prod(products(axis, padding=True) for axis in axes)
    macs = features * math.prod(products(axis, padding=equation.count_padding) for axis in axes)
    return Cost(_convolution_kind(equation, axes), multiply_accumulates(out, macs, counted))


def _convolution_kind(equation: Equation, axes: list[WindowAxis]) -> Kind:
    (lhs, rhs), params = equation.inputs, equation.params
    numbers, feature_groups, batch_groups = (
        params["dimension_numbers"],
        params["feature_group_count"],
        params["batch_group_count"],
    )
    groups = feature_groups * batch_groups
    if groups == 1:
        # The kernel gradient of a pointwise convolution uses the image as its kernel, and its output has one position.
        is_gradient = equation.is_backward and all(axis.output == 1 for axis in axes)
        return "pointwise" if is_gradient or all(axis.kernel == 1 for axis in axes) else "ordinary"
    batch = lhs.shape[numbers.lhs_spec[0]] // batch_groups
    in_features, out_features = rhs.shape[numbers.rhs_spec[1]], rhs.shape[numbers.rhs_spec[0]] // groups
    one = batch if batch_groups > 1 else in_features
    return "depthwise" if min(one, out_features) == 1 else "grouped"


@register("dot_general")
def _matrix_product(equation: Equation) -> Cost:
    lhs, (out,) = equation.inputs[0], equation.outputs
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    macs = math.prod(out.shape) * math.prod(lhs.shape[axis] for axis in contracted)
    # A batched product of activations: the scores and values of attention, and their gradients.
    kind: Kind = "batched" if batch and not any(equation.weights) else "dense"
    return Cost(kind, multiply_accumulates(out, macs, macs))


@register("ragged_dot_general")
def _ragged_product(equation: Equation) -> Cost | None:
    # Each row of the left matrix is multiplied by one matrix of the group. The sizes of the groups are data.
    (lhs, rhs), (out,) = equation.inputs[:2], equation.outputs
    if lhs.ndim != 2 or rhs.ndim != 3 or out.ndim != 2:
        return None
    macs = math.prod(lhs.shape) * rhs.shape[-1]
    return Cost("dense", multiply_accumulates(out, macs, macs))


@register("fft")
def _fft(equation: Equation) -> Cost:
    # 5 n log2 n for a complex transform, half of that for a real one: http://www.fftw.org/speed/method.html
    lengths = equation.params["fft_lengths"]
    complex_size = max(math.prod(equation.inputs[0].shape), math.prod(equation.outputs[0].shape))
    is_real = any(aval.dtype.kind != "c" for aval in (equation.inputs[0], equation.outputs[0]))
    flops = (2.5 if is_real else 5) * complex_size * math.log2(max(1, math.prod(lengths)))
    return Cost("transform", Counts(flops=round(flops)))
