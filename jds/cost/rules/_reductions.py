"""Rules for reductions, windows, sorts and communication between devices."""

import math

from jds.cost._counts import Counts
from jds.cost.rules._table import Cost, Equation, operations, register, size
from jds.cost.rules._windows import products, window_axes

REDUCTIONS = ("argmax", "argmin", *(f"reduce_{name}" for name in ("sum", "max", "min", "prod", "and", "or", "xor")))
WINDOWS = ("reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min", "select_and_gather_add")


@register(*REDUCTIONS)
def _reduce(equation: Equation) -> Cost:
    # Each element of a sum except the first is one addition.
    array = equation.inputs[0]
    return Cost("reduction", _of_pairs(equation, max(0, size(array) - size(equation.outputs[0]))))


def _of_pairs(equation: Equation, count: int) -> Counts:
    """Returns the cost of combining `count` pairs of elements, by products if the name says so."""
    array = equation.inputs[0]
    is_product = equation.primitive in ("reduce_prod", "cumprod")
    return operations(array, 0, multiply=count) if is_product else operations(array, count)


def _steps(equation: Equation) -> int:
    """Returns the number of elements of a running sum that have a predecessor."""
    array = equation.inputs[0]
    length = array.shape[equation.params["axis"]]
    return size(array) // length * (length - 1) if length else 0


@register("cumsum", "cumprod", "cummax", "cummin")
def _scan(equation: Equation) -> Cost:
    return Cost("reduction", _of_pairs(equation, _steps(equation)))


@register("cumlogsumexp")
def _log_scan(equation: Equation) -> Cost:
    # Each step: a difference, its exponential and logarithm, a maximum, and a sum.
    steps = _steps(equation)
    return Cost("reduction", operations(equation.inputs[0], 3 * steps) + Counts(transcendentals=2 * steps))


@register("reduce")
def _general_reduce(equation: Equation) -> Cost | None:
    array, out, body = equation.inputs[0], equation.outputs[0], equation.body
    return None if body is None else Cost("reduction", body * max(0, size(array) - size(out)))


def _window_sums(equation: Equation, array, out) -> int:
    """Returns the number of pairs of an output and an element of its window, with padding if `count_padding`."""
    axes = window_axes(array, out, equation.params)
    return math.prod(products(axis, padding=equation.count_padding) for axis in axes)


@register("reduce_window_sum", "reduce_window_max", "reduce_window_min", "select_and_gather_add")
def _reduce_window(equation: Equation) -> Cost:
    array, out = equation.inputs[0], equation.outputs[0]
    return Cost("reduction", operations(array, max(0, _window_sums(equation, array, out) - size(out))))


@register("reduce_window")
def _general_reduce_window(equation: Equation) -> Cost | None:
    array, out, body = equation.inputs[0], equation.outputs[0], equation.body
    return None if body is None else Cost("reduction", body * max(0, _window_sums(equation, array, out) - size(out)))


@register("select_and_scatter_add")
def _select_and_scatter(equation: Equation) -> Cost:
    # The gradient of max pooling: each window finds its maximum again and adds to it.
    source, array = equation.inputs[:2]
    return Cost("reduction", operations(array, _window_sums(equation, array, source)))


@register("sort")
def _sort(equation: Equation) -> Cost:
    # The comparisons of a merge sort, per key.
    array, keys = equation.inputs[0], equation.params["num_keys"]
    length = array.shape[equation.params["dimension"]]
    return Cost("sorting", operations(array, size(array) * math.ceil(math.log2(max(1, length))) * keys))


@register("top_k", "approx_top_k")
def _top_k(equation: Equation) -> Cost:
    # Each element is compared with the smallest of the k, kept in a heap of height log2 k.
    array, k = equation.inputs[0], equation.params["k"]
    return Cost("sorting", operations(array, size(array) * (1 + math.ceil(math.log2(max(1, k))))))


@register("psum", "psum_invariant", "pmax", "pmin", "reduce_scatter")
def _all_reduce(equation: Equation) -> Cost:
    # One operation per element on each device.
    total = Counts()
    for aval in equation.inputs:
        total += operations(aval, size(aval))
    return Cost("communication", total)


@register("all_gather", "all_gather_invariant", "all_to_all", "ppermute", "pbroadcast", "ragged_all_to_all")
def _exchange(equation: Equation) -> Cost:
    return Cost("communication")
