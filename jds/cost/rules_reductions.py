"""Rules of reductions, windows, sorts and random numbers."""

import math

from jds.cost.counts import Counts
from jds.cost.rules import Cost, Equation, operations, register, size
from jds.cost.windows import WindowAxis, products


@register("argmax", "argmin", *(f"reduce_{name}" for name in ("sum", "max", "min", "prod", "and", "or", "xor")))
def _reduce(equation: Equation) -> Cost:
    # Each element but the first of a sum meets those before it.
    array = equation.inputs[0]
    return Cost("reduction", operations(array, max(0, size(array) - size(equation.outputs[0]))))


def _steps(equation: Equation) -> int:
    """Elements of a running sum that have another before them."""
    array = equation.inputs[0]
    length = array.shape[equation.params["axis"]]
    return size(array) // length * (length - 1) if length else 0


@register("cumsum", "cumprod", "cummax", "cummin")
def _scan(equation: Equation) -> Cost:
    return Cost("reduction", operations(equation.inputs[0], _steps(equation)))


@register("cumlogsumexp")
def _log_scan(equation: Equation) -> Cost:
    # Of each two numbers: their difference, its exponential and logarithm, the larger one, and a sum.
    steps = _steps(equation)
    return Cost("reduction", operations(equation.inputs[0], 3 * steps) + Counts(transcendentals=2 * steps))


def _window_sums(equation: Equation, array, out) -> int:
    """Pairs of an output and an element of its window, as `padding` says."""
    params = equation.params
    ones = (1,) * len(out.shape)
    axes = (
        WindowAxis(i, k, o, stride, low, base, dilation)
        for i, k, o, stride, (low, _), base, dilation in zip(
            array.shape,
            params["window_dimensions"],
            out.shape,
            params["window_strides"],
            params["padding"],
            params.get("base_dilation", ones),
            params.get("window_dilation", ones),
            strict=True,
        )
    )
    return math.prod(products(axis, padding=equation.padding == "counted") for axis in axes)


@register("reduce_window_sum", "reduce_window_max", "reduce_window_min", "select_and_gather_add")
def _reduce_window(equation: Equation) -> Cost:
    array, out = equation.inputs[0], equation.outputs[0]
    return Cost("reduction", operations(array, max(0, _window_sums(equation, array, out) - size(out))))


@register("select_and_scatter_add")
def _select_and_scatter(equation: Equation) -> Cost:
    # The gradient of max pooling: each window finds its largest element again, and adds to it.
    source, array = equation.inputs[:2]
    return Cost("reduction", operations(array, _window_sums(equation, array, source)))


@register("sort")
def _sort(equation: Equation) -> Cost:
    # Comparisons of a merge sort, for each key.
    array, keys = equation.inputs[0], equation.params["num_keys"]
    length = array.shape[equation.params["dimension"]]
    return Cost("sorting", operations(array, size(array) * math.ceil(math.log2(max(1, length))) * keys))


@register("top_k", "approx_top_k")
def _top_k(equation: Equation) -> Cost:
    # Each element is compared with the smallest of the k, and a heap of those is log2 k high.
    array, k = equation.inputs[0], equation.params["k"]
    return Cost("sorting", operations(array, size(array) * (1 + math.ceil(math.log2(max(1, k))))))


# Threefry-2x32, https://www.thesalmons.org/john/random123/papers/random123sc11.pdf: of two words 20 rounds, each of an
# addition, a rotation (two shifts and an or) and an exclusive or, and 5 insertions of two key words and a counter, with
# two additions before the first round.
_THREEFRY = 20 * 5 + 5 * 3 + 2


def _threefry(words: int) -> Cost:
    return Cost("random", Counts(integer_operations=math.ceil(words / 2) * _THREEFRY))


@register("threefry2x32")
def _threefry_block(equation: Equation) -> Cost:
    return _threefry(2 * size(equation.outputs[0]))


def _is_threefry(aval) -> bool:
    return "fry" in str(aval.dtype)


@register("random_bits")
def _random_bits(equation: Equation) -> Cost | None:
    keys, out = equation.inputs[0], equation.outputs[0]
    return _threefry(math.ceil(size(out) * out.dtype.itemsize / 4)) if _is_threefry(keys) else None


@register("random_split", "random_fold_in")
def _random_keys(equation: Equation) -> Cost | None:
    # A key is two words; a fold makes its second operand one by another block.
    out = equation.outputs[0]
    blocks = 2 if equation.primitive == "random_fold_in" else 1
    return _threefry(2 * blocks * size(out)) if _is_threefry(out) else None


@register("random_seed")
def _random_seed(equation: Equation) -> Cost:
    # Shifts and masks the seed into two words.
    return Cost("random", Counts(integer_operations=2 * size(equation.outputs[0])))


@register("cholesky")
def _cholesky(equation: Equation) -> Cost:
    # n³/3 + n²/2 + n/6, http://www.netlib.org/lapack/lawnspdf/lawn41.pdf
    return _factorisation(equation, lambda m, n: (2 * n**3 + 3 * n**2 + n) // 6)


@register("lu")
def _lu(equation: Equation) -> Cost:
    return _factorisation(equation, lambda m, n: sum((m - k) + 2 * (m - k) * (n - k) for k in range(1, min(m, n) + 1)))


@register("triangular_solve")
def _triangular_solve(equation: Equation) -> Cost:
    # For each column of the other operand: n divisions, and n (n - 1) / 2 products and differences.
    matrix, right = equation.inputs
    n = matrix.shape[-1]
    return Cost("transform", operations(right, size(right) * (n - 1) // 2, multiply=size(right) * (n + 1) // 2))


def _factorisation(equation: Equation, flops) -> Cost:
    matrix = equation.inputs[0]
    *batch, m, n = matrix.shape
    scale = 4 if matrix.dtype.kind == "c" else 1
    return Cost("transform", Counts(flops=scale * math.prod(batch) * flops(m, n)))


@register("psum", "psum2", "psum_invariant", "pmax", "pmin", "reduce_scatter", "psum_scatter")
def _all_reduce(equation: Equation) -> Cost:
    # On each device, one operation for each of its elements.
    total = Counts()
    for aval in equation.inputs:
        total += operations(aval, size(aval))
    return Cost("communication", total)


@register("all_gather", "all_gather_invariant", "all_to_all", "ppermute", "pbroadcast", "ragged_all_to_all")
def _exchange(equation: Equation) -> Cost:
    return Cost("communication")
