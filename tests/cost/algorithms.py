"""Algorithms of more than one operation per element, which tally every operation."""

import heapq
import math

import numpy as np

from tests.cost.interpreter import add, did, less, multiply, multiply_add


def sort(params, *arrays):
    keys = params["num_keys"]
    moved = [np.moveaxis(array, params["dimension"], -1) for array in arrays]
    outs = [np.empty(array.shape, object) for array in moved]

    def at_most(a, b):
        for x, y in zip(a[:keys], b[:keys], strict=True):
            if less(x, y):
                return True
            if y < x:
                return False
        return True

    def merge_sort(rows):
        if len(rows) < 2:
            return rows
        left, right = merge_sort(rows[: len(rows) // 2]), merge_sort(rows[len(rows) // 2 :])
        merged = []
        while left and right:
            merged.append(left.pop(0) if at_most(left[0], right[0]) else right.pop(0))
        return merged + left + right

    for place in np.ndindex(*moved[0].shape[:-1]):
        rows = merge_sort(list(zip(*(array[place] for array in moved), strict=True)))
        for out, column in zip(outs, zip(*rows, strict=True), strict=True):
            out[place] = list(column)
    return [np.moveaxis(out, -1, params["dimension"]) for out in outs]


class Compared:
    """A number whose comparisons are tallied."""

    def __init__(self, value):
        self.value = value

    def __lt__(self, other):
        return less(self.value, other.value)


def top_k(params, array):
    out = np.empty((*array.shape[:-1], params["k"]), object)
    for place in np.ndindex(*array.shape[:-1]):
        heap = []
        for value in map(Compared, array[place]):
            if len(heap) < params["k"]:
                heapq.heappush(heap, value)
            else:
                heapq.heappushpop(heap, value)
        out[place] = sorted((c.value for c in heap), reverse=True)
    return out


def fft(params, array):
    (length,) = params["fft_lengths"]
    assert length & (length - 1) == 0

    def transform(values):
        if len(values) == 1:
            return values
        even, odd = transform(values[::2]), transform(values[1::2])
        turned = [multiply(value, np.exp(-2j * np.pi * k / len(values))) for k, value in enumerate(odd)]
        return [add(e, t) for e, t in zip(even, turned, strict=True)] + [
            add(e, -t) for e, t in zip(even, turned, strict=True)
        ]

    out = np.empty(array.shape, object)
    for place in np.ndindex(*array.shape[:-1]):
        out[place] = transform(list(array[place]))
    return out


def scatter(fun):
    def run(params, array, indices, updates):
        del params
        out = array.copy()
        for index, update in zip(indices[:, 0], updates, strict=True):
            out[index] = fun(out[index], update)
        return out

    return run


def ragged_dot(params, lhs, rhs, sizes):
    del params
    group_of_row = np.repeat(np.arange(len(sizes)), sizes.astype(int))
    out = np.empty((lhs.shape[0], rhs.shape[2]), object)
    for i, j in np.ndindex(*out.shape):
        out[i, j] = multiply_add(zip(lhs[i], rhs[group_of_row[i], :, j], strict=True))
    return out


def threefry2x32(params, k1, k2, x1, x2):
    """As in https://www.thesalmons.org/john/random123/papers/random123sc11.pdf, tallying every operation on words."""
    del params

    def word(fun):
        def run(a, b):
            did(a)
            return fun(int(a), int(b)) & 0xFFFFFFFF

        return run

    plus, xor, or_ = word(int.__add__), word(int.__xor__), word(int.__or__)
    left, right = word(int.__lshift__), word(int.__rshift__)
    k1, k2 = int(k1[()]), int(k2[()])
    keys = (k1, k2, xor(xor(k1, k2), 0x1BD11BDA))
    rotations = (13, 15, 26, 6), (17, 29, 16, 24)
    first, second = np.empty(x1.shape, object), np.empty(x1.shape, object)
    for place in np.ndindex(*x1.shape):
        a, b = plus(x1[place], keys[0]), plus(x2[place], keys[1])
        for step in range(5):
            for rotation in rotations[step % 2]:
                a = plus(a, b)
                b = xor(or_(left(b, rotation), right(b, 32 - rotation)), a)
            a = plus(a, keys[(step + 1) % 3])
            b = plus(plus(b, keys[(step + 2) % 3]), step + 1)
        first[place], second[place] = a, b
    return [first, second]


def cholesky(params, matrix):
    del params
    n = len(matrix)
    out = np.full((n, n), 0.0, object)
    for j in range(n):
        diagonal = matrix[j, j]
        for k in range(j):
            diagonal = add(diagonal, -multiply(out[j, k], out[j, k]))
        did(diagonal)  # the square root
        out[j, j] = math.sqrt(diagonal)
        for i in range(j + 1, n):
            below = matrix[i, j]
            for k in range(j):
                below = add(below, -multiply(out[i, k], out[j, k]))
            out[i, j] = multiply(below, 1 / out[j, j])  # a division
    return out


def lu(params, matrix):
    del params
    out, (m, n) = matrix.copy(), matrix.shape
    rows = list(range(m))
    for k in range(min(m, n)):
        pivot = max(range(k, m), key=lambda i: abs(out[i, k]))
        out[[k, pivot]], rows[k], rows[pivot] = out[[pivot, k]], rows[pivot], rows[k]
        for i in range(k + 1, m):
            out[i, k] = multiply(out[i, k], 1 / out[k, k])  # a division
            for j in range(k + 1, n):
                out[i, j] = add(out[i, j], -multiply(out[i, k], out[k, j]))
    return out


def triangular_solve(params, matrix, right):
    assert (params["left_side"], params["lower"], bool(params["transpose_a"])) == (True, True, False)
    out = right.copy()
    for column in range(right.shape[1]):
        for i in range(len(matrix)):
            for k in range(i):
                out[i, column] = add(out[i, column], -multiply(matrix[i, k], out[k, column]))
            out[i, column] = multiply(out[i, column], 1 / matrix[i, i])  # a division
    return out


def integer_pow(params, array):
    power = params["y"]

    def raised(value):
        result, square, rest = None, value, abs(power)
        while rest:
            if rest & 1:
                result = square if result is None else multiply(result, square)
            rest >>= 1
            square = multiply(square, square) if rest else square
        if power < 0:
            did(value)
            result = 1 / result
        return result

    return np.frompyfunc(raised, 1, 1)(array)
