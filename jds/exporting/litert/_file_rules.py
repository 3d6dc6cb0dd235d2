"""The cost of LiteRT's operators."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    """An operator of a file, in the form that rules receive.

    Attributes:
      kind: its name.
      inputs, outputs: its arrays by their places; None for those that are left out.
      constants: for each input, whether the file holds it.
      options: its options; those of another kind of operator are not there.
      padded: what the first input was before zeros were added, if they were.
      count_padding: whether multiply-accumulates with padding are counted.
    """

    kind: str
    inputs: Sequence[Array | None]
    outputs: Sequence[Array]
    constants: Sequence[bool]
    options: Any
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

    def option(self, name: str, default: Any = 0) -> Any:
        """Returns an option."""
        return getattr(self.options, name, default)

    @property
    def out(self) -> Array:
        """The first output."""
        return self.outputs[0]

    @property
    def integers(self) -> bool:
        """Whether it computes in integers: a comparison in the dtype of its operands, a conversion in the float one."""
        last = self.inputs[-1] if self.inputs else None
        return self.out.is_integer and (last is None or last.is_integer)


Rule = Callable[[Operator], Cost | None]
_RULES: dict[str, Rule] = {}


def cost_of(operator: Operator) -> Cost | None:
    """Returns the cost of an operator with its activation, or None if there is no rule for it."""
    rule = _RULES.get(operator.kind)
    cost = None if rule is None else rule(operator)
    activation = _ACTIVATIONS.get(operator.option("fusedActivationFunction"))
    if cost is None or activation is None:
        return None
    return counting.plus(cost, counting.elements(operator.out.size, activation, integers=operator.out.is_integer))


def _rule(*kinds: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


# The numbers of the schema's enums.
_ACTIVATIONS = {
    0: PerElement(),
    1: FUNCTIONS["relu"],
    2: FUNCTIONS["relu6"],
    3: FUNCTIONS["relu6"],
    4: FUNCTIONS["tanh"],
}
_SAME = 0

# Elements.

_MOVEMENT = """
    BATCH_TO_SPACE_ND BITCAST BROADCAST_ARGS BROADCAST_TO CONCATENATION DEPTH_TO_SPACE DILATE DYNAMIC_UPDATE_SLICE
    EMBEDDING_LOOKUP EXPAND_DIMS FILL GATHER GATHER_ND IMAG MATRIX_DIAG MATRIX_SET_DIAG MIRROR_PAD ONE_HOT PACK PAD
    PADV2 RANGE RANK READ_VARIABLE REAL RESHAPE RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE REVERSE_V2 SCATTER_ND SHAPE
    SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPARSE_TO_DENSE SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TILE TRANSPOSE UNPACK
    ZEROS_LIKE ASSIGN_VARIABLE VAR_HANDLE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONCATENATE STABLEHLO_DYNAMIC_SLICE
    STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_GATHER STABLEHLO_IOTA STABLEHLO_PAD STABLEHLO_RESHAPE STABLEHLO_SLICE
    STABLEHLO_TRANSPOSE
"""
_ARITHMETIC = """
    ABS ADD BITWISE_XOR CAST CEIL DIV EQUAL FLOOR FLOOR_DIV FLOOR_MOD GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND
    LOGICAL_NOT LOGICAL_OR MAXIMUM MINIMUM MUL NEG NOT_EQUAL RIGHT_SHIFT ROUND SELECT SELECT_V2 SIGN SQUARE SUB
    STABLEHLO_ABS STABLEHLO_ADD STABLEHLO_AND STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_DIVIDE STABLEHLO_FLOOR
    STABLEHLO_MAXIMUM STABLEHLO_MINIMUM STABLEHLO_MULTIPLY STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_REMAINDER
    STABLEHLO_SELECT STABLEHLO_SHIFT_LEFT STABLEHLO_SUBTRACT
"""
_FUNCTION = """
    ATAN2 COS EXP LOG LOGISTIC POW RSQRT SIN SQRT TANH STABLEHLO_CBRT STABLEHLO_COSINE STABLEHLO_EXPONENTIAL
    STABLEHLO_LOG STABLEHLO_LOGISTIC STABLEHLO_POWER STABLEHLO_RSQRT STABLEHLO_TANH
"""
_ELEMENTS = {
    **dict.fromkeys(_ARITHMETIC.split(), ARITHMETIC),
    **dict.fromkeys(_FUNCTION.split(), FUNCTION),
    "ELU": FUNCTIONS["elu"],
    "HARD_SWISH": FUNCTIONS["hard_silu"],
    "LEAKY_RELU": FUNCTIONS["leaky_relu"],
    "PRELU": FUNCTIONS["leaky_relu"],
    "RELU": FUNCTIONS["relu"],
    "RELU6": FUNCTIONS["relu6"],
    "RELU_0_TO_1": FUNCTIONS["relu6"],
    "RELU_N1_TO_1": FUNCTIONS["relu6"],
    "SQUARED_DIFFERENCE": PerElement(2),
    "STABLEHLO_CLAMP": PerElement(2),
}


@_rule(*_MOVEMENT.split())
def _movement(operator: Operator) -> Cost:
    return Cost("data movement")


@_rule(*_ELEMENTS)
def _elements(operator: Operator) -> Cost:
    return _each(operator, _ELEMENTS[operator.kind])


def _each(operator: Operator, each: PerElement) -> Cost:
    return Cost("element-wise", counting.elements(operator.out.size, each, integers=operator.integers))


@_rule("QUANTIZE", "FAKE_QUANT")
def _round(operator: Operator) -> Cost:
    return _each(operator, ROUND)


@_rule("DEQUANTIZE")
def _unround(operator: Operator) -> Cost:
    return _each(operator, UNROUND if operator.input(0).is_integer else ARITHMETIC)


@_rule("ADD_N")
def _sum_of_several(operator: Operator) -> Cost:
    return _each(operator, PerElement(len(operator.inputs) - 1))


@_rule("GELU")
def _gelu(operator: Operator) -> Cost:
    return _each(operator, FUNCTIONS["gelu by tanh" if operator.option("approximate") else "gelu"])


# Convolutions. Images are stored with the channels last.


class _Places(NamedTuple):
    """The places of images, kernel and bias, and the axes of the kernel."""

    images: int
    kernel: int
    bias: int
    spatial: tuple[int, ...]
    depth: int
    features: int


_CONVOLUTIONS = {
    "CONV_2D": _Places(0, 1, 2, (1, 2), 3, 0),
    "DEPTHWISE_CONV_2D": _Places(0, 1, 2, (1, 2), 0, 3),
    "CONV_3D": _Places(0, 1, 2, (0, 1, 2), 3, 4),
    "TRANSPOSE_CONV": _Places(2, 1, 3, (1, 2), 3, 0),
    "CONV_3D_TRANSPOSE": _Places(2, 1, 3, (0, 1, 2), 4, 3),
}
_TRANSPOSED = {"TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"}


@_rule(*_CONVOLUTIONS)
def _convolution(operator: Operator) -> Cost:
    places = _CONVOLUTIONS[operator.kind]
    images, kernel = operator.input(places.images), operator.input(places.kernel)
    taps = [kernel.shape[axis] for axis in places.spatial]
    depth, features = kernel.shape[places.depth], kernel.shape[places.features]
    axes = _transposed_axes(operator, images, taps) if operator.kind in _TRANSPOSED else _axes(operator, images, taps)
    conv = Convolution(axes, operator.out.shape[0], features, depth, max(1, images.shape[-1] // max(1, depth)))
    cost = counting.convolution(conv, integers=kernel.is_integer, count_padding=operator.count_padding)
    return _with_bias_and_rounding(operator, cost, images, kernel, places.bias)


def _axes(operator: Operator, images: Array, taps: Sequence[int]) -> tuple[WindowAxis, ...]:
    names = "DHW"[-len(taps) :]
    axes = []
    for place, (name, tap) in enumerate(zip(names, taps, strict=True), 1):
        size, out = images.shape[place], operator.out.shape[place]
        stride, dilation = operator.option(f"stride{name}", 1), operator.option(f"dilation{name}Factor", 1)
        total = max(0, (out - 1) * stride + (tap - 1) * dilation + 1 - size)
        low = total // 2 if operator.option("padding") == _SAME else 0
        if operator.padded is not None:
            size, low = operator.padded.shape[place], low + operator.padded.low[place]
        axes.append(WindowAxis(size, tap, out, stride, low, 1, dilation))
    return tuple(axes)


def _transposed_axes(operator: Operator, images: Array, taps: Sequence[int]) -> tuple[WindowAxis, ...]:
    names = "DHW"[-len(taps) :]
    axes = []
    for place, (name, tap) in enumerate(zip(names, taps, strict=True), 1):
        size, out = images.shape[place], operator.out.shape[place]
        stride, dilation = operator.option(f"stride{name}", 1), operator.option(f"dilation{name}Factor", 1)
        reach = (tap - 1) * dilation
        total = max(0, (size - 1) * stride + reach + 1 - out)
        low = total // 2 if operator.option("padding") == _SAME else 0
        # A convolution of the images with holes between their positions.
        axes.append(WindowAxis(size, tap, out, 1, reach - low, stride, dilation))
    return tuple(axes)


def _with_bias_and_rounding(operator: Operator, cost: Cost, images: Array, weights: Array, bias: int) -> Cost:
    more = Counts()
    if weights.is_integer and not images.is_integer:
        # The images are rounded when they are known: the least and the greatest are found first.
        more = counting.operations(images.size * (2 + ROUND.operations), integers=False)
    if operator.has(bias):
        more += counting.operations(operator.out.size, integers=operator.out.is_integer)
    return counting.plus(cost, more)


# Products of matrices.


@_rule("FULLY_CONNECTED")
def _dense(operator: Operator) -> Cost:
    array, weights = operator.input(0), operator.input(1)
    cost = counting.product(operator.out.size * weights.shape[-1], integers=weights.is_integer)
    return _with_bias_and_rounding(operator, cost, array, weights, 2)


@_rule("BATCH_MATMUL")
def _product(operator: Operator) -> Cost:
    left, right = operator.input(0), operator.input(1)
    macs = operator.out.size * left.shape[-2 if operator.option("adjX") else -1]
    is_batched = min(len(left.shape), len(right.shape)) > 2 and not any(operator.constants[:2])
    cost = counting.product(macs, integers=right.is_integer, is_batched=is_batched)
    return _with_bias_and_rounding(operator, cost, left, right, 2)


# The places of the matrices that read the inputs and the last state, and of those that look at the cells.
_OF_INPUTS, _OF_CELLS = range(1, 9), range(9, 12)


@_rule("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _lstm(operator: Operator) -> Cost | None:
    if any(operator.has(place) for place in _OF_CELLS) or operator.has(16) or operator.has(20):
        return None
    matrices = [operator.input(place) for place in _OF_INPUTS if operator.has(place)]
    states = operator.out.size
    steps = math.prod(operator.input(0).shape[:2])
    integers = matrices[0].is_integer
    cost = counting.product(steps * sum(matrix.size for matrix in matrices), integers=integers)
    gates = len(matrices) // 2
    each = PerElement(4 + 2 * gates, 1 + gates)
    return counting.plus(cost, counting.elements(states, each, integers=operator.out.is_integer))


# Reductions and windows.


@_rule("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(operator: Operator) -> Cost:
    images, out = operator.input(0), operator.out
    axes = _axes(operator, images, [operator.option("filterHeight"), operator.option("filterWidth")])
    pairs = counting.window(axes, out.shape[0] * out.shape[-1], count_padding=operator.count_padding)
    divisions = 0 if operator.kind == "MAX_POOL_2D" else out.size
    return counting.reduction(pairs, out.size, integers=images.is_integer, more=divisions)


@_rule("SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL", "ARG_MAX", "ARG_MIN")
def _reduce(operator: Operator) -> Cost:
    array, results = operator.input(0), operator.out.size
    more = results if operator.kind == "MEAN" else 0
    return counting.reduction(array.size, results, integers=array.is_integer, more=more)


@_rule("TOPK_V2")
def _top(operator: Operator) -> Cost:
    array = operator.input(0)
    return counting.sorting(array.size, operator.out.shape[-1], integers=array.is_integer)


# Normalizations.


@_rule("SOFTMAX", "LOG_SOFTMAX")
def _softmax(operator: Operator) -> Cost:
    array, is_log = operator.input(0), operator.kind == "LOG_SOFTMAX"
    cost = counting.softmax(array.size, array.size // max(1, array.shape[-1]), integers=array.is_integer, is_log=is_log)
    factors = array.size if operator.option("beta", 1.0) != 1.0 else 0
    return counting.plus(cost, counting.operations(factors, integers=array.is_integer))


@_rule("L2_NORMALIZATION")
def _unit_length(operator: Operator) -> Cost:
    array = operator.input(0)
    groups = array.size // max(1, array.shape[-1])
    # Squares, their sums, and the quotients.
    counts = counting.operations(3 * array.size - groups, integers=array.is_integer, transcendentals=groups)
    return Cost("normalization", counts)


@_rule("RESIZE_BILINEAR")
def _resize(operator: Operator) -> Cost:
    return counting.resize(operator.input(0).shape, operator.out.shape, 2, integers=operator.integers)
