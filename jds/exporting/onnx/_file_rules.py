"""The cost of the operators of ONNX, and of those that ONNX Runtime adds."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jds.cost._counts import Counts
from jds.cost.rules import Cost, WindowAxis
from jds.exporting import _counting as counting
from jds.exporting._counting import (
    ARITHMETIC,
    FUNCTION,
    FUNCTIONS,
    ROUND,
    UNROUND,
    Array,
    Convolution,
    Padded,
    PerElement,
)


class Operator(NamedTuple):
    """A node of a file, in the form that rules receive.

    Attributes:
      kind: name of the operator.
      inputs, outputs: its arrays by their places; None for those that are left out.
      constants: for each input, whether the file holds it.
      attributes: its attributes.
      value: returns a small constant by its place among the inputs, or None.
      opset: version of ONNX's operators.
      padded: what the first input was before zeros were added, if they were.
      count_padding: whether multiply-accumulates with padding are counted.
    """

    kind: str
    inputs: Sequence[Array | None]
    outputs: Sequence[Array | None]
    constants: Sequence[bool]
    attributes: Mapping[str, Any]
    value: Callable[[int], np.ndarray | None]
    opset: int
    padded: Padded | None
    count_padding: bool

    def input(self, place: int) -> Array:
        """Returns an input that the operator must have."""
        array = self.inputs[place]
        assert array is not None
        return array

    def has(self, place: int) -> bool:
        """Whether an input is given."""
        return len(self.inputs) > place and self.inputs[place] is not None

    @property
    def out(self) -> Array:
        """The first output."""
        return next(array for array in self.outputs if array is not None)

    @property
    def integers(self) -> bool:
        """Whether it computes in integers: a comparison in the dtype of its operands, a conversion in the float one."""
        return self.out.is_integer and (self.inputs[-1] is None or self.inputs[-1].is_integer)


Rule = Callable[[Operator], Cost | None]
_RULES: dict[str, Rule] = {}


def cost_of(operator: Operator) -> Cost | None:
    """Returns the cost of a node, or None if there is no rule for it."""
    rule = _RULES.get(operator.kind)
    return None if rule is None else rule(operator)


def _rule(*kinds: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


# Elements.

_MOVEMENT = """
    Identity Reshape Flatten Squeeze Unsqueeze Transpose Concat QLinearConcat Split Slice Gather GatherElements GatherND
    Pad Tile Expand Shape Size Constant ConstantOfShape Range OneHot EyeLike DepthToSpace SpaceToDepth Trilu Dropout
    ReverseSequence ReorderInput ReorderOutput Col2Im CenterCropPad Compress TensorScatter BitCast
"""
_ARITHMETIC = """
    Abs Neg Sign Floor Ceil Round Not And Or Xor BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot Equal Greater Less
    GreaterOrEqual LessOrEqual Where Add Sub Mul Div Mod Reciprocal IsNaN IsInf Cast CastLike QLinearAdd QLinearMul
"""
_FUNCTION = """
    Exp Log Sqrt Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Sigmoid Tanh QLinearSigmoid
"""
_ELEMENTS = {
    **dict.fromkeys(_ARITHMETIC.split(), ARITHMETIC),
    **dict.fromkeys(_FUNCTION.split(), FUNCTION),
    "BiasGelu": PerElement(5, 1),
    "Celu": FUNCTIONS["celu"],
    "Elu": FUNCTIONS["elu"],
    "HardSigmoid": FUNCTIONS["hard_sigmoid"],
    "HardSwish": FUNCTIONS["hard_silu"],
    "LeakyRelu": FUNCTIONS["leaky_relu"],
    "Mish": FUNCTIONS["mish"],
    "PRelu": FUNCTIONS["leaky_relu"],
    "QLinearLeakyRelu": FUNCTIONS["leaky_relu"],
    "QuickGelu": PerElement(2, 1),
    "Relu": FUNCTIONS["relu"],
    "Selu": FUNCTIONS["selu"],
    "Shrink": PerElement(3),
    "Softplus": FUNCTIONS["softplus"],
    "Softsign": FUNCTIONS["softsign"],
    "Swish": FUNCTIONS["silu"],
    "ThresholdedRelu": PerElement(2),
}


@_rule(*_MOVEMENT.split())
def _movement(operator: Operator) -> Cost:
    return Cost("data movement")


@_rule(*_ELEMENTS)
def _elements(operator: Operator) -> Cost:
    return _each(operator, _ELEMENTS[operator.kind])


def _each(operator: Operator, each: PerElement) -> Cost:
    return Cost("element-wise", counting.elements(operator.out.size, each, integers=operator.integers))


@_rule("QuantizeLinear", "DequantizeLinear")
def _rounding(operator: Operator) -> Cost:
    each = ROUND if operator.kind == "QuantizeLinear" else UNROUND
    integers = operator.input(0).is_integer and operator.out.is_integer
    return Cost("element-wise", counting.elements(operator.out.size, each, integers=integers))


@_rule("Clip")
def _clip(operator: Operator) -> Cost:
    limits = sum(operator.has(place) for place in (1, 2)) + sum(name in operator.attributes for name in ("min", "max"))
    return _each(operator, PerElement(limits))


@_rule("Max", "Min", "Sum", "Mean")
def _several(operator: Operator) -> Cost:
    return _each(operator, PerElement(len(operator.inputs) - (operator.kind != "Mean")))


@_rule("Pow")
def _power(operator: Operator) -> Cost:
    exponent = operator.value(1)
    number = None if exponent is None or exponent.size != 1 else float(exponent.reshape(()))
    if number is None or not number.is_integer() or number < 0:
        return _each(operator, FUNCTION)
    # Repeated squaring and multiplication.
    whole = int(number)
    return _each(operator, PerElement(max(0, whole.bit_length() - 1) + max(0, whole.bit_count() - 1)))


@_rule("Gelu", "FastGelu")
def _gelu(operator: Operator) -> Cost:
    is_by_tanh = operator.kind == "FastGelu" or operator.attributes.get("approximate") == "tanh"
    name, has_bias = "gelu by tanh" if is_by_tanh else "gelu", operator.has(1)
    each = FUNCTIONS[name]
    return _each(operator, each._replace(operations=each.operations + has_bias))


@_rule("ScatterND", "ScatterElements", "Scatter")
def _scatter(operator: Operator) -> Cost:
    if operator.attributes.get("reduction", "none") == "none":
        return Cost("data movement")
    updates = operator.input(2)
    return Cost("data movement", counting.operations(updates.size, integers=updates.is_integer))


@_rule("DynamicQuantizeLinear")
def _dynamic_rounding(operator: Operator) -> Cost:
    # The least and the greatest, and rounding.
    size = operator.input(0).size
    return Cost("element-wise", counting.operations(size * (2 + ROUND.operations), integers=False))


# Functions that follow a product in the same node.

_ACTIVATIONS = {
    "": PerElement(),
    "Clip": FUNCTIONS["relu6"],
    "HardSigmoid": FUNCTIONS["hard_sigmoid"],
    "LeakyRelu": FUNCTIONS["leaky_relu"],
    "Relu": FUNCTIONS["relu"],
    "Sigmoid": FUNCTIONS["sigmoid"],
    "Tanh": FUNCTIONS["tanh"],
}


def _activated(operator: Operator, cost: Cost, *, integers: bool) -> Cost | None:
    name = operator.attributes.get("activation", "")
    if name not in _ACTIVATIONS:
        return None
    return counting.plus(cost, counting.elements(operator.out.size, _ACTIVATIONS[name], integers=integers))


def _summands(operator: Operator, count: int, *, integers: bool) -> Counts:
    return counting.operations(count * operator.out.size, integers=integers)


# Convolutions.

# The places of images, kernel, bias and of what FusedConv adds.
_CONVOLUTIONS = {
    "Conv": (0, 1, 2, 3),
    "FusedConv": (0, 1, 2, 3),
    "ConvInteger": (0, 1, None, None),
    "QLinearConv": (0, 3, 8, None),
}


@_rule(*_CONVOLUTIONS)
def _convolution(operator: Operator) -> Cost | None:
    *places, bias, summand = _CONVOLUTIONS[operator.kind]
    images, kernel = (operator.input(place) for place in places if place is not None)
    groups, integers = operator.attributes.get("group", 1), images.is_integer and kernel.is_integer
    axes = _window_axes(operator, images.shape[2:], kernel.shape[2:])
    conv = Convolution(axes, operator.out.shape[0], kernel.shape[0], kernel.shape[1], groups)
    cost = counting.convolution(conv, integers=integers, count_padding=operator.count_padding)
    more = sum(place is not None and operator.has(place) for place in (bias, summand))
    return _activated(operator, counting.plus(cost, _summands(operator, more, integers=integers)), integers=integers)


def _window_axes(operator: Operator, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[WindowAxis, ...]:
    rank, attributes = len(kernel), operator.attributes
    strides, dilations = (attributes.get(name) or [1] * rank for name in ("strides", "dilations"))
    pads, mode = attributes.get("pads") or [0] * 2 * rank, attributes.get("auto_pad", "NOTSET")
    axes = []
    for size, taps, out, stride, dilation, low in zip(
        sizes, kernel, operator.out.shape[2:], strides, dilations, pads[:rank], strict=True
    ):
        if mode.startswith("SAME"):
            total = max(0, (out - 1) * stride + (taps - 1) * dilation + 1 - size)
            low = total // 2 if mode == "SAME_UPPER" else total - total // 2
        axes.append(WindowAxis(size, taps, out, stride, 0 if mode == "VALID" else low, 1, dilation))
    if operator.padded is not None:
        before = zip(operator.padded.shape[2:], operator.padded.low[2:], axes, strict=True)
        axes = [axis._replace(input=size, low=axis.low + low) for size, low, axis in before]
    return tuple(axes)


@_rule("ConvTranspose")
def _transposed(operator: Operator) -> Cost:
    images, kernel, attributes = operator.input(0), operator.input(1), operator.attributes
    rank = len(kernel.shape) - 2
    strides, dilations = (attributes.get(name) or [1] * rank for name in ("strides", "dilations"))
    more, pads = attributes.get("output_padding") or [0] * rank, attributes.get("pads") or [0] * 2 * rank
    mode, groups = attributes.get("auto_pad", "NOTSET"), attributes.get("group", 1)
    axes = []
    for axis, (size, taps, out) in enumerate(
        zip(images.shape[2:], kernel.shape[2:], operator.out.shape[2:], strict=True)
    ):
        stride, reach, low = strides[axis], (taps - 1) * dilations[axis], pads[axis]
        if mode.startswith("SAME") or "output_shape" in attributes:
            total = stride * (size - 1) + more[axis] + reach + 1 - out
            low = total // 2 if mode == "SAME_UPPER" else total - total // 2
        # A convolution of the images with holes between their positions.
        axes.append(WindowAxis(size, taps, out, 1, reach - low, stride, dilations[axis]))
    conv = Convolution(tuple(axes), images.shape[0], groups * kernel.shape[1], kernel.shape[0] // groups, groups)
    integers = images.is_integer and kernel.is_integer
    cost = counting.convolution(conv, integers=integers, count_padding=operator.count_padding)
    return counting.plus(cost, _summands(operator, operator.has(2), integers=integers))


# Products of matrices.

# The places of the two operands and of the bias.
_PRODUCTS = {
    "MatMul": (0, 1, None),
    "FusedMatMul": (0, 1, None),
    "MatMulInteger": (0, 1, None),
    "MatMulIntegerToFloat": (0, 1, 6),
    "QLinearMatMul": (0, 3, None),
    "Gemm": (0, 1, 2),
    "FusedGemm": (0, 1, 2),
    "QGemm": (0, 3, 6),
}
_TRANSPOSED = {"Gemm": "transA", "FusedGemm": "transA", "QGemm": "transA", "FusedMatMul": "transA"}


@_rule(*_PRODUCTS)
def _product(operator: Operator) -> Cost | None:
    left_place, right_place, bias = _PRODUCTS[operator.kind]
    left, right = operator.input(left_place), operator.input(right_place)
    is_turned = bool(operator.attributes.get(_TRANSPOSED.get(operator.kind, ""), 0)) and len(left.shape) > 1
    macs = operator.out.size * left.shape[-2 if is_turned else -1]
    is_batched = min(len(left.shape), len(right.shape)) > 2 and not (
        operator.constants[left_place] or operator.constants[right_place]
    )
    integers = left.is_integer and right.is_integer
    cost = counting.product(macs, integers=integers, is_batched=is_batched)
    # Gemm computes alpha A B + beta C.
    factors = sum(operator.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    more = factors + (bias is not None and operator.has(bias))
    return _activated(operator, counting.plus(cost, _summands(operator, more, integers=integers)), integers=integers)


@_rule("MatMulNBits")
def _product_with_packed_weights(operator: Operator) -> Cost:
    macs = operator.input(0).size * operator.attributes["N"]
    return counting.plus(counting.product(macs, integers=False), _summands(operator, operator.has(5), integers=False))


@_rule("DynamicQuantizeMatMul")
def _product_after_rounding(operator: Operator) -> Cost:
    left, right = operator.input(0), operator.input(1)
    cost = counting.product(left.size * right.shape[-1], integers=True)
    rounding = counting.operations(left.size * (2 + ROUND.operations), integers=False)
    return counting.plus(cost, rounding + _summands(operator, operator.has(4), integers=False))


@_rule("Einsum")
def _einsum(operator: Operator) -> Cost | None:
    equation = operator.attributes["equation"].replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if "..." in equation or len(terms) > 2:
        return None
    sizes: dict[str, int] = {}
    for place, term in enumerate(terms):
        sizes |= zip(term, operator.input(place).shape, strict=True)
    macs = math.prod(sizes.values())
    if len(terms) == 1:
        return counting.reduction(operator.input(0).size, operator.out.size, integers=operator.integers)
    if macs == operator.out.size:
        return _each(operator, ARITHMETIC)
    is_batched = bool({*terms[0]} & {*terms[1]} & {*equation.partition("->")[2]}) and not any(operator.constants)
    return counting.product(macs, integers=operator.integers, is_batched=is_batched)


@_rule("Attention")
def _attention(operator: Operator) -> Cost | None:
    queries, keys, values = (operator.input(place) for place in range(3))
    # With a cache, the keys are more than those passed.
    if operator.has(4) or len(operator.outputs) > 1 or operator.attributes.get("softcap"):
        return None
    if len(queries.shape) == 4:
        batch, heads, length, depth = queries.shape
        others, width = values.shape[2:]
    else:
        batch, length, _ = queries.shape
        heads, groups = (operator.attributes[name] for name in ("q_num_heads", "kv_num_heads"))
        depth, others, width = queries.shape[2] // heads, keys.shape[1], values.shape[2] // groups
    rows = batch * heads * length
    cost = counting.product(rows * others * (depth + width), integers=operator.integers, is_batched=True)
    weights = counting.softmax(rows * others, rows, integers=operator.integers).counts
    # The scale, and the mask.
    more = (1 + operator.has(3) + bool(operator.attributes.get("is_causal"))) * rows * others
    return counting.plus(cost, weights + counting.operations(more, integers=operator.integers))


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# For each element of the state: what remains besides the sums that enter the gates.
_STATE = {"LSTM": PerElement(4, 5), "GRU": PerElement(5, 3), "RNN": PerElement(0, 1)}


@_rule(*_GATES)
def _recurrent(operator: Operator) -> Cost | None:
    attributes, kind = operator.attributes, operator.kind
    if "activations" in attributes and not {*attributes["activations"]} <= {"Sigmoid", "Tanh"}:
        return None
    # Lengths of sequences are data, and peepholes are rare.
    if operator.has(4) or operator.has(7):
        return None
    length, batch, features = operator.input(0).shape
    if attributes.get("layout"):
        length, batch = batch, length
    directions, hidden = operator.input(2).shape[0], operator.input(2).shape[2]
    states = directions * length * batch * hidden
    gates, biases = _GATES[kind], 2 if operator.has(3) else 0
    cost = counting.product(states * gates * (features + hidden), integers=False)
    each = _STATE[kind]
    each = each._replace(operations=each.operations + gates * (1 + biases))
    return counting.plus(cost, counting.elements(states, each, integers=False))


# Reductions and windows.


@_rule("MaxPool", "AveragePool", "QLinearAveragePool")
def _pool(operator: Operator) -> Cost | None:
    if operator.attributes.get("channels_last"):
        return None
    images, out = operator.input(0), operator.out
    axes = _window_axes(operator, images.shape[2:], operator.attributes["kernel_shape"])
    rest = math.prod(out.shape[:2])
    pairs = counting.window(axes, rest, count_padding=operator.count_padding)
    divisions = 0 if operator.kind == "MaxPool" else out.size
    return counting.reduction(pairs, out.size, integers=images.is_integer, more=divisions)


# For each element, and for each result: operations and transcendental functions.
_REDUCTIONS = {
    "GlobalAveragePool": (0, ARITHMETIC),
    "GlobalMaxPool": (0, PerElement()),
    "QLinearGlobalAveragePool": (0, ARITHMETIC),
    "QLinearReduceMean": (0, ARITHMETIC),
    "ReduceL1": (1, PerElement()),
    "ReduceL2": (1, FUNCTION),
    "ReduceLogSum": (0, FUNCTION),
    "ReduceMax": (0, PerElement()),
    "ReduceMean": (0, ARITHMETIC),
    "ReduceMin": (0, PerElement()),
    "ReduceProd": (0, PerElement()),
    "ReduceSum": (0, PerElement()),
    "ReduceSumSquare": (1, PerElement()),
    "ArgMax": (0, PerElement()),
    "ArgMin": (0, PerElement()),
}


@_rule(*_REDUCTIONS)
def _reduce(operator: Operator) -> Cost:
    each, last = _REDUCTIONS[operator.kind]
    array, results = operator.input(0), operator.out.size
    return counting.reduction(
        array.size,
        results,
        integers=array.is_integer,
        more=each * array.size + last.operations * results,
        transcendentals=last.transcendentals * results,
    )


@_rule("ReduceLogSumExp")
def _log_sum(operator: Operator) -> Cost:
    # The maximum, the differences and their exponentials, the sum and its logarithm.
    size, results = operator.input(0).size, operator.out.size
    return counting.reduction(size, results, integers=False, more=2 * size, transcendentals=size + results)


@_rule("CumSum", "CumProd")
def _cumulative(operator: Operator) -> Cost | None:
    axis, array = operator.value(1), operator.input(0)
    if axis is None:
        return None
    length = array.shape[int(axis.reshape(()))]
    return counting.reduction(array.size, array.size // max(1, length), integers=array.is_integer)


@_rule("TopK")
def _top(operator: Operator) -> Cost:
    array, axis = operator.input(0), operator.attributes.get("axis", -1)
    return counting.sorting(array.size, operator.out.shape[axis], integers=array.is_integer)


# Normalizations.


@_rule("Softmax", "LogSoftmax", "QLinearSoftmax")
def _softmax(operator: Operator) -> Cost:
    array = operator.input(0)
    opset = operator.attributes.get("opset", operator.opset) if operator.kind == "QLinearSoftmax" else operator.opset
    if opset >= 13:
        length = array.shape[operator.attributes.get("axis", -1)]
    else:
        axis = operator.attributes.get("axis", 1)
        length = math.prod(array.shape[axis % max(1, len(array.shape)) :])
    rows, is_log = array.size // max(1, length), operator.kind == "LogSoftmax"
    return counting.softmax(array.size, rows, integers=array.is_integer, is_log=is_log)


@_rule("BatchNormalization")
def _batch_norm(operator: Operator) -> Cost | None:
    if operator.attributes.get("training_mode"):
        return None
    # In evaluation, one factor and one summand for each channel, which are constants.
    counts = counting.elements(operator.out.size, PerElement(2), integers=operator.integers)
    return Cost("normalization", counts)


@_rule("InstanceNormalization")
def _instance_norm(operator: Operator) -> Cost:
    array = operator.input(0)
    return counting.normalization(array.size, math.prod(array.shape[:2]), integers=array.is_integer)


@_rule("GroupNormalization", "GroupNorm")
def _group_norm(operator: Operator) -> Cost:
    attributes, array = operator.attributes, operator.input(0)
    groups = attributes["num_groups"] if "num_groups" in attributes else attributes["groups"]
    cost = counting.normalization(array.size, array.shape[0] * groups, integers=array.is_integer)
    return (
        counting.plus(cost, counting.elements(array.size, FUNCTIONS["silu"], integers=False))
        if attributes.get("activation")
        else cost
    )


# Whether the mean is subtracted, and the places of the summand and of the arrays that follow.
_LAYER_NORMS = {
    "LayerNormalization": (True, (), (1, 2)),
    "RMSNormalization": (False, (), (1,)),
    "SimplifiedLayerNormalization": (False, (), (1,)),
    "SkipLayerNormalization": (True, (1, 4), (2, 3)),
    "SkipSimplifiedLayerNormalization": (False, (1, 3), (2,)),
}


@_rule(*_LAYER_NORMS)
def _layer_norm(operator: Operator) -> Cost:
    centered, before, after = _LAYER_NORMS[operator.kind]
    array, axis = operator.input(0), operator.attributes.get("axis", -1)
    groups = math.prod(array.shape[: axis % max(1, len(array.shape))])
    factors = sum(operator.has(place) for place in (*before, *after))
    return counting.normalization(array.size, groups, integers=array.is_integer, centered=centered, factors=factors)


@_rule("LpNormalization")
def _unit_length(operator: Operator) -> Cost:
    array, is_euclidean = operator.input(0), operator.attributes.get("p", 2) == 2
    groups = array.size // max(1, array.shape[operator.attributes.get("axis", -1)])
    # Squares or magnitudes, their sums, and the quotients.
    counts = counting.operations(3 * array.size - groups, integers=False, transcendentals=groups * is_euclidean)
    return Cost("normalization", counts)


_TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4}


@_rule("Resize", "Upsample")
def _resize(operator: Operator) -> Cost | None:
    taps = _TAPS.get(operator.attributes.get("mode", "nearest"))
    if taps is None or operator.attributes.get("antialias"):
        return None
    return counting.resize(operator.input(0).shape, operator.out.shape, taps, integers=operator.integers)
