"""Rules for element-wise operations, and for operations that only move data or do nothing."""

from typing import Any

from jds.cost._counts import Counts
from jds.cost.rules._table import Cost, Equation, operations, register, size

# One operation per element of the result.
_ARITHMETIC = """
    add sub mul div rem neg abs sign max min floor ceil round nextafter clamp square add_any is_finite conj
    eq ne lt le gt ge eq_to le_to lt_to select_n and or xor not shift_left shift_right_arithmetic shift_right_logical
    population_count clz convert_element_type reduce_precision mulhi
"""

_TRANSCENDENTAL = """
    exp exp2 log log1p log2 expm1 sin cos tan tanh asin acos atan sinh cosh asinh acosh atanh pow sqrt rsqrt cbrt
    logistic erf erfc erf_inv lgamma digamma polygamma igamma igammac igamma_grad_a bessel_i0e
    bessel_i1e atan2 regularized_incomplete_beta zeta
"""

# Elements are copied or reordered.
_MOVEMENT = """
    broadcast_in_dim reshape transpose squeeze slice dynamic_slice dynamic_update_slice concatenate pad rev
    gather copy iota device_put bitcast_convert_type split unstack stack real imag complex tile empty
    empty2 empty_ref new_ref freeze get swap broadcast_to
    iota_2x32_shape lu_pivots_to_permutation with_memory_space_constraint relayout
"""

# Free when the program runs: names, types, placement, ordering.
_NOTHING = """
    name sharding_constraint optimization_barrier pvary reshard layout_constraint create_token
    random_wrap random_unwrap random_clone from_edtype to_edtype axis_index platform_index dimension_size dim_as_value
    debug_callback debug_print stop_gradient after_all tie pin unpin dce_sink inspect_sharding shape_assertion
    reduced_vary_cast reduced_vary_cast_p xla_metadata_value vary_unreduced_cast vary_unreduced_cast_p preduced
"""

SCATTERS = ("scatter", "scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max")
# The position of the updates among the operands of operations that change a part of their first operand.
UPDATES = {"dynamic_update_slice": 1} | dict.fromkeys(SCATTERS, 2)

# Each element of the result depends on one element of each operand, so that the result may replace an operand.
ELEMENTWISE = frozenset((*_ARITHMETIC.split(), *_TRANSCENDENTAL.split(), "integer_pow", "one_minus_square"))


@register(*_ARITHMETIC.split())
def _arithmetic(equation: Equation) -> Cost:
    (out,) = equation.outputs
    # A comparison counts in its operands' dtype, a conversion in whichever of the two dtypes is floating-point.
    aval = out if _floats(out) else equation.inputs[-1]
    if equation.primitive in ("mul", "square"):
        return Cost("element-wise", operations(aval, 0, multiply=size(out)))
    return Cost("element-wise", operations(aval, size(out)))


def _floats(aval: Any) -> bool:
    # The kind of bfloat16 is `V`.
    return aval.dtype.kind in "fcV"


@register("one_minus_square")
def _one_minus_square(equation: Equation) -> Cost:
    (out,) = equation.outputs
    return Cost("element-wise", operations(out, size(out), multiply=size(out)))


@register("integer_pow")
def _integer_pow(equation: Equation) -> Cost:
    # Repeated squaring and multiplication; a negative power adds a division.
    (out,), power = equation.outputs, equation.params["y"]
    multiplications = max(0, abs(power).bit_length() - 1) + max(0, abs(power).bit_count() - 1)
    counts = operations(out, (power < 0) * size(out), multiply=multiplications * size(out))
    return Cost("element-wise", counts)


@register(*_TRANSCENDENTAL.split())
def _transcendental(equation: Equation) -> Cost:
    return Cost("element-wise", Counts(transcendentals=size(equation.outputs[0])))


@register(*_MOVEMENT.split(), *_NOTHING.split())
def _movement(equation: Equation) -> Cost:
    return Cost("data movement")


@register(*SCATTERS)
def _scatter(equation: Equation) -> Cost | None:
    # One run of its function per update.
    return None if equation.body is None else Cost("data movement", equation.body * size(equation.inputs[-1]))


@register("addupdate")
def _add_to_reference(equation: Equation) -> Cost:
    update = equation.inputs[1]
    return Cost("element-wise", operations(update, size(update)))
