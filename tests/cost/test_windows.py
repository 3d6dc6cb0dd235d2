"""The number of a window's products against the enumeration of all positions."""

import random

import pytest

from jds.cost.rules._windows import WindowAxis, products


def enumerate_products(axis: WindowAxis, *, padding: bool) -> int:
    found = 0
    for o in range(axis.output):
        for k in range(axis.kernel):
            place = axis.stride * o + axis.rhs_dilation * k - axis.low
            if place % axis.lhs_dilation == 0:
                found += padding or 0 <= place // axis.lhs_dilation < axis.input
    return found


@pytest.mark.parametrize("seed", range(20))
def test_products_match_the_enumeration_of_the_index_space(seed):
    draw = random.Random(seed)
    for _ in range(100):
        axis = WindowAxis(
            input=draw.randint(0, 9),
            kernel=draw.randint(0, 9),
            output=draw.randint(0, 12),
            stride=draw.randint(1, 6),
            low=draw.randint(-7, 7),
            lhs_dilation=draw.randint(1, 6),
            rhs_dilation=draw.randint(1, 4),
        )
        for padding in (True, False):
            assert products(axis, padding=padding) == enumerate_products(axis, padding=padding), axis


def test_a_long_signal_is_counted_in_closed_form():
    axis = WindowAxis(input=10**9, kernel=3, output=10**9, low=1)
    assert products(axis, padding=True) == 3 * 10**9
    assert products(axis, padding=False) == 3 * 10**9 - 2
