"""Rules for factorizations and triangular solves; iterative algorithms have no rules."""

import math
from fractions import Fraction

from jds.cost._counts import Counts
from jds.cost.rules._table import Cost, Equation, operations, register, size


@register("cholesky")
def _cholesky(equation: Equation) -> Cost:
    # n³/3 + n²/2 + n/6, http://www.netlib.org/lapack/lawnspdf/lawn41.pdf
    return _factorization(equation, lambda m, n: (2 * n**3 + 3 * n**2 + n) // 6)


@register("lu")
def _lu(equation: Equation) -> Cost:
    return _factorization(equation, lambda m, n: sum((m - k) + 2 * (m - k) * (n - k) for k in range(1, min(m, n) + 1)))


# Householder QR: the multiplications and additions of LAPACK's xGEQRF and xORGQR,
# http://www.netlib.org/lapack/lawnspdf/lawn41.pdf


def _householder(m: int, n: int) -> tuple[Fraction, Fraction]:
    third, half = Fraction(1, 3), Fraction(1, 2)
    if m >= n:
        common = n * (n * (half - third * n + m))
        return common + n * (m + Fraction(23, 6)), common + n * Fraction(5, 6)
    common = m * (m * (-half - third * m + n))
    return common + m * (2 * n + Fraction(23, 6)), common + m * (n + Fraction(5, 6))


def _form_q(m: int, n: int, k: int) -> tuple[Fraction, Fraction]:
    """Returns the cost of the first `n` columns of the product of `k` reflections."""
    third = Fraction(1, 3)
    multiply = k * (2 * m * n + 2 * n - 5 * third + k * (2 * third * k - (m + n) - 1))
    return multiply, k * (2 * m * n + n - m + third + k * (2 * third * k - (m + n)))


def _qr_cost(matrix, *steps: tuple[Fraction, Fraction]) -> Cost:
    batch = math.prod(matrix.shape[:-2])
    multiply, add = (batch * int(sum(counts)) for counts in zip(*steps, strict=True))
    return Cost("transform", operations(matrix, add, multiply=multiply))


@register("geqrf")
def _geqrf(equation: Equation) -> Cost:
    matrix = equation.inputs[0]
    return _qr_cost(matrix, _householder(*matrix.shape[-2:]))


@register("householder_product")
def _householder_product(equation: Equation) -> Cost:
    matrix, reflections = equation.inputs
    return _qr_cost(matrix, _form_q(matrix.shape[-2], matrix.shape[-1], reflections.shape[-1]))


@register("qr")
def _qr(equation: Equation) -> Cost | None:
    matrix = equation.inputs[0]
    m, n = matrix.shape[-2:]
    if equation.params.get("pivoting"):
        return None
    columns = m if equation.params["full_matrices"] else min(m, n)
    return _qr_cost(matrix, _householder(m, n), _form_q(m, columns, min(m, n)))


@register("triangular_solve")
def _triangular_solve(equation: Equation) -> Cost:
    # Per column of the other operand: n divisions, and n (n - 1) / 2 multiplications and subtractions.
    matrix, right = equation.inputs
    n = matrix.shape[-1]
    return Cost("transform", operations(right, size(right) * (n - 1) // 2, multiply=size(right) * (n + 1) // 2))


def _factorization(equation: Equation, flops) -> Cost:
    matrix = equation.inputs[0]
    *batch, m, n = matrix.shape
    scale = 4 if matrix.dtype.kind == "c" else 1
    return Cost("transform", Counts(flops=scale * math.prod(batch) * flops(m, n)))
