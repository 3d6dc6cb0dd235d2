"""The table of rules: how to compute the cost of an equation for each primitive."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jds.cost._counts import Counts, Kind


class Equation(NamedTuple):
    """One equation of a jaxpr, in the form that rules receive.

    Attributes:
      primitive: name of the primitive.
      inputs: the operands, each with `shape` and `dtype`.
      outputs: the results, each with `shape` and `dtype`.
      params: its parameters in the jaxpr.
      count_padding: whether multiply-accumulates with padding are counted.
      is_backward: whether it was created by reverse-mode differentiation.
      weights: for each operand, whether it is computed from parameters alone.
      body: for a reduction or a scatter with a function of its own: the cost of one run of this function; None if it is
        unknown, or if there is no function.

    Example:
      >>> from jds import cost
      >>> @cost.register("ffi_call:my_sum")
      ... def my_sum(equation: cost.Equation):
      ...     return cost.Cost("reduction", cost.Counts(flops=equation.inputs[0].size))
    """

    primitive: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    params: Mapping[str, Any]
    count_padding: bool = True
    is_backward: bool = False
    weights: Sequence[bool] = ()
    body: Counts | None = None


class Cost(NamedTuple):
    """The cost of an equation: its kind of work, and its counts.

    Example:
      >>> from jds import cost
      >>> cost.Cost("element-wise", cost.Counts(flops=8)).counts.flops
      8
    """

    kind: Kind
    counts: Counts = Counts()


Rule = Callable[[Equation], Cost | None]

_RULES: dict[str, Rule] = {}


def register(*primitives: str) -> Callable[[Rule], Rule]:
    """Registers a rule for primitives by name, replacing any earlier rule.

    A foreign function is registered as `ffi_call:` followed by the name of its target; a Pallas kernel that declares no
    cost, as `pallas_call:` followed by the name of the kernel.

    Args:
      *primitives: names, as printed by `jax.make_jaxpr`.

    Returns:
      A decorator for the rule: a function of an `Equation` that returns its `Cost`, or None if the cost is unknown.

    Example:
      >>> from jds import cost
      >>> @cost.register("ffi_call:my_square")
      ... def square(equation):
      ...     return cost.Cost("element-wise", cost.Counts(flops=equation.outputs[0].size))
    """

    def decorator(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(primitives, rule))
        return rule

    return decorator


def find_rule(name: str) -> Rule | None:
    """Returns the rule for a primitive, or None."""
    return _RULES.get(name)


def size(aval: Any) -> int:
    """Returns the number of elements of an array; 1 for values without a shape."""
    return math.prod(getattr(aval, "shape", ()))


def operations(aval: Any, count: int, *, multiply: int = 0) -> Counts:
    """Returns `count` operations in the array's dtype; a complex one counts as 2, a complex multiplication as 6."""
    dtype = getattr(aval, "dtype", np.dtype(bool))
    if np.issubdtype(dtype, np.complexfloating):
        return Counts(flops=2 * count + 6 * multiply)
    if np.issubdtype(dtype, np.integer) or dtype == np.dtype(bool):
        return Counts(integer_operations=count + multiply)
    return Counts(flops=count + multiply)


def multiply_accumulates(aval: Any, macs: int, counted: int) -> Counts:
    """Returns `macs` multiply-accumulates in the array's dtype, and `counted` multiplications, including padding."""
    return operations(aval, macs, multiply=macs)._replace(multiplications=counted, macs=macs)
