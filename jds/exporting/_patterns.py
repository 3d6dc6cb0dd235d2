"""Finds functions that formats have as one operation, such as layer normalization, among the equations of a program.

A pattern is the function itself. It is traced at the shapes of a possible result, and found where the equations are the
same, whatever their order. If a later version of JAX or Flax traces the function to other equations, both sides change
together.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.extend.core import Var

from jds.exporting._equations import Equation, Program, Value, read, shape_of, without_unread
from jds.exporting._sizes import same_shape
from jds.ops import expand_jaxpr

# Parameters that do not change the values.
_IRRELEVANT = {"sharding", "out_sharding", "accuracy", "precision", "dimensions", "preferred_element_type", "out_dtype"}
_COMMUTATIVE = {"add", "mul", "max", "min"}
# A number that stands for any other.
_EPSILON = 12345.0


class Pattern(NamedTuple):
    """A function to be found.

    Attributes:
      name: name of the equation that takes the place of what is found.
      fun: the function.
      inputs: its inputs, for a result of this shape and dtype.
      params: parameters of that equation.
    """

    name: str
    fun: Callable[..., jax.Array]
    inputs: tuple[jax.ShapeDtypeStruct, ...]
    params: dict[str, Any]


def find_patterns(program: Program) -> Program:
    """Replaces equations that make up a known function by one equation."""
    made_by = {var: equation for equation in program.equations for var in equation.outputs}
    # From the last one, so that a function is found before a part of it.
    for equation in reversed(program.equations):
        found = next(_matches(equation, made_by), None)
        if found is not None:
            pattern, inputs, params = found
            equation.name, equation.inputs, equation.params = pattern.name, inputs, pattern.params | params
    return without_unread(program)


def _matches(equation: Equation, made_by: dict[Var, Equation]) -> Iterator[tuple[Pattern, list[Value], dict]]:
    out = equation.outputs[0].aval
    if len(equation.outputs) > 1 or not jnp.issubdtype(out.dtype, jnp.floating):
        return
    # Tracing takes time: first compare the primitives, which are the same at all shapes.
    for number, (_, alike) in enumerate(_traced((2, 3, 5, 7, 11)[: len(out.shape)], out.dtype)):
        if _Match(made_by, alike, by_name=True).is_made_by(equation):
            pattern, wanted = _traced_one(number, out.shape, out.dtype)
            match = _Match(made_by, wanted)
            if match.is_made_by(equation):
                yield pattern, [match.values[var] for var in wanted.inputs], match.params


@functools.cache
def _traced(shape: tuple[Any, ...], dtype: Any) -> list[tuple[Pattern, Program]]:
    return [_trace(pattern) for pattern in _patterns(shape, dtype)]


@functools.lru_cache(1024)
def _traced_one(number: int, shape: tuple[Any, ...], dtype: Any) -> tuple[Pattern, Program]:
    return _trace([*_patterns(shape, dtype)][number])


def _trace(pattern: Pattern) -> tuple[Pattern, Program]:
    """Returns a pattern with its equations."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return pattern, read(expand_jaxpr(jax.make_jaxpr(pattern.fun)(*pattern.inputs)))


def _patterns(shape: tuple[Any, ...], dtype: Any) -> Iterator[Pattern]:
    """The patterns, the larger ones first."""
    out = jax.ShapeDtypeStruct(shape, dtype)
    yield Pattern("hard_silu", jax.nn.hard_silu, (out,), {})
    yield Pattern("hard_sigmoid", jax.nn.hard_sigmoid, (out,), {})
    yield Pattern("gelu", functools.partial(jax.nn.gelu, approximate=False), (out,), {"approximate": "none"})
    yield Pattern("gelu", functools.partial(jax.nn.gelu, approximate=True), (out,), {"approximate": "tanh"})
    for fun in (_gelu_by_erf, _gelu_by_erf_and_division):
        yield Pattern("gelu", fun, (out,), {"approximate": "none"})
    yield Pattern("softplus", jax.nn.softplus, (out,), {})
    for axis in range(len(shape)):
        yield Pattern("softmax", functools.partial(jax.nn.softmax, axis=axis), (out,), {"axis": axis})
        yield Pattern("log_softmax", functools.partial(jax.nn.log_softmax, axis=axis), (out,), {"axis": axis})
    if len(shape) > 1 and isinstance(shape[-1], int):
        yield from _layer_norms(out)


def _gelu_by_erf(x: jax.Array) -> jax.Array:
    """As ConvNeXt has it: on CPUs, erf takes less time than erfc."""
    return 0.5 * x * (1 + lax.erf(x * 0.5**0.5))


def _gelu_by_erf_and_division(x: jax.Array) -> jax.Array:
    return 0.5 * x * (1 + lax.erf(x / 2**0.5))


def _layer_norms(out: jax.ShapeDtypeStruct) -> Iterator[Pattern]:
    features = jax.ShapeDtypeStruct(out.shape[-1:], out.dtype)
    for is_fast in (True, False):
        for has_scale, has_bias in ((True, True), (True, False), (False, True), (False, False)):
            options = {"use_scale": has_scale, "use_bias": has_bias, "use_fast_variance": is_fast}
            inputs = (out, *[features] * (has_scale + has_bias))
            params = {"has_scale": has_scale, "has_bias": has_bias}
            yield Pattern("layer_norm", functools.partial(_layer_norm, **options), inputs, params)


def _layer_norm(x: jax.Array, *values: jax.Array, use_scale: bool, use_bias: bool, use_fast_variance: bool):
    rest = list(values)
    norm = nnx.LayerNorm(
        x.shape[-1],
        epsilon=_EPSILON,
        use_scale=use_scale,
        use_bias=use_bias,
        use_fast_variance=use_fast_variance,
        rngs=nnx.Rngs(0),
    )
    if use_scale:
        norm.scale = nnx.Param(rest.pop(0))
    if use_bias:
        norm.bias = nnx.Param(rest.pop(0))
    return norm(x)


class _Match:
    """What the variables of a pattern are in the program; with `by_name`, only the primitives are compared."""

    def __init__(self, made_by: dict[Var, Equation], wanted: Program, *, by_name: bool = False):
        self.by_name = by_name
        self.values: dict[Var, Value] = {}
        self.params: dict[str, float] = {}
        self._made_by = made_by
        self._wanted = wanted
        self._wanted_by = {var: equation for equation in wanted.equations for var in equation.outputs}

    def is_made_by(self, equation: Equation) -> bool:
        """Whether an equation, with those before it, computes the result of the pattern."""
        return self._is_equation(self._wanted.equations[-1], equation)

    def _is_equation(self, wanted: Equation, equation: Equation | None) -> bool:
        if equation is None or wanted.name != equation.name or len(wanted.inputs) != len(equation.inputs):
            return False
        if not self.by_name and _relevant(wanted) != _relevant(equation):
            return False
        orders = [equation.inputs, equation.inputs[::-1]] if wanted.name in _COMMUTATIVE else [equation.inputs]
        return any(self._are_values(wanted.inputs, inputs) for inputs in orders)

    def _are_values(self, wanted: Sequence[Any], values: Sequence[Any]) -> bool:
        known = dict(self.values), dict(self.params)
        if all(map(self._is_value, wanted, values)):
            return True
        self.values, self.params = known
        return False

    def _is_value(self, wanted: Any, value: Any) -> bool:
        if isinstance(wanted, np.ndarray):
            return isinstance(value, np.ndarray) and (self.by_name or self._is_constant(wanted, value))
        if wanted in self.values:
            return self.values[wanted] is value
        if wanted in self._wanted_by:
            is_alike = isinstance(value, Var) and self._is_equation(self._wanted_by[wanted], self._made_by.get(value))
        else:
            is_alike = self.by_name or same_shape(wanted.aval.shape, shape_of(value))
        if is_alike:
            self.values[wanted] = value
        return is_alike

    def _is_constant(self, wanted: np.ndarray, value: np.ndarray) -> bool:
        if wanted.shape == value.shape == () and wanted == np.asarray(_EPSILON, wanted.dtype):
            return self.params.setdefault("epsilon", value.item()) == value.item()
        return bool(np.array_equal(wanted, value))


def _relevant(equation: Equation) -> dict[str, Any]:
    return {key: value for key, value in equation.params.items() if key not in _IRRELEVANT}
