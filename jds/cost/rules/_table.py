"""The table of rules: the cost of an equation of each primitive."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jds.cost._counts import Counts, Kind


class Equation(NamedTuple):
    """One equation of a jaxpr, as rules see it.

    Attributes:
      primitive: its name.
      inputs: the operands, each with `shape` and `dtype`.
      outputs: the results, each with `shape` and `dtype`.
      params: its parameters in the jaxpr.
      count_padding: whether multiply-accumulates with padding are counted.
      is_backward: whether reverse-mode differentiation made it.
      weights: for each operand, whether it is computed from parameters alone.

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
    """Registers a rule for primitives, by name; it replaces an earlier rule.

    A foreign function is registered as `ffi_call:` and its target's name. A Pallas kernel that declares no cost is
    registered as `pallas_call:` and the kernel's name.

    Args:
      *primitives: names, as `jax.make_jaxpr` prints them.

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
    """The rule of a primitive, or None."""
    return _RULES.get(name)


def size(aval: Any) -> int:
    """Number of elements of an array; 1 for values without a shape."""
    return math.prod(getattr(aval, "shape", ()))


def operations(aval: Any, count: int, *, multiply: int = 0) -> Counts:
    """`count` operations in the array's dtype; a complex one counts 2, a complex multiplication 6."""
    dtype = getattr(aval, "dtype", np.dtype(bool))
    if np.issubdtype(dtype, np.complexfloating):
        return Counts(flops=2 * count + 6 * multiply)
    if np.issubdtype(dtype, np.integer) or dtype == np.dtype(bool):
        return Counts(integer_operations=count + multiply)
    return Counts(flops=count + multiply)


def multiply_accumulates(aval: Any, macs: int, counted: int) -> Counts:
    """`macs` multiply-accumulates in the array's dtype, and `counted` multiplications, padding included."""
    return operations(aval, macs, multiply=macs)._replace(multiplications=counted, macs=macs)
