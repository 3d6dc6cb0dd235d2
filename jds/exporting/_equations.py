"""The equations of a function, simplified for a format whose parameters are constants of the file."""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, Var

from jds.exporting._sizes import is_size, same_shape

# An input of an equation: a variable, or a constant.
Value = Var | np.ndarray

# Equations that return their input.
_IDENTITIES = {"stop_gradient", "copy", "copy_p", "optimization_barrier", "sharding_constraint", "pvary", "name"}


@dataclasses.dataclass(eq=False)
class Equation:
    """An equation whose inputs may be constants.

    Attributes:
      name: the name of a primitive, or of a pattern that stands for several equations.
      inputs: variables and constants.
      outputs: variables.
      params: the parameters of the primitive or of the pattern.
      source: the equation of the jaxpr, for error messages and scopes; the last one, for a pattern.
    """

    name: str
    inputs: list[Any]
    outputs: list[Any]
    params: dict[str, Any]
    source: Any


@dataclasses.dataclass
class Program:
    """Equations in order, from the inputs to the outputs."""

    inputs: list[Var]
    outputs: list[Value]
    equations: list[Equation]

    def readers(self) -> collections.Counter[Var]:
        """Returns how often each variable is read, the outputs included."""
        values = [*self.outputs, *(value for equation in self.equations for value in equation.inputs)]
        return collections.Counter(value for value in values if isinstance(value, Var))


def read(jaxpr: ClosedJaxpr, constants: Sequence[Any] = ()) -> Program:
    """Reads a jaxpr, without the equations that do nothing.

    Args:
      jaxpr: the jaxpr, without calls.
      constants: the values of its first inputs, which are constants of the program.
    """
    known: dict[Var, Value] = dict(zip(jaxpr.jaxpr.constvars, map(_as_numpy, jaxpr.consts), strict=True))
    invars = jaxpr.jaxpr.invars
    known |= {var: _as_numpy(value) for var, value in zip(invars, constants, strict=False)}

    def value_of(atom: Any) -> Any:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return np.asarray(atom.val, aval.dtype)
        return known.get(atom, atom)

    equations = []
    for source in jaxpr.jaxpr.eqns:
        inputs = [value_of(atom) for atom in source.invars]
        if _is_identity(source):
            known |= dict(zip(source.outvars, inputs, strict=True))
        else:
            params = {key: _plain(value) for key, value in source.params.items()}
            equations.append(Equation(source.primitive.name, inputs, list(source.outvars), params, source))
    outputs = [value_of(atom) for atom in jaxpr.jaxpr.outvars]
    return Program(list(invars[len(constants) :]), outputs, equations)


def simplify(program: Program) -> Program:
    """Computes what depends on constants alone, and merges reductions with the reshapes and divisions around them."""
    for step in (_fold_constants, _as_reshapes, _kept_axes, _means, _kept_axes, without_unread):
        program = step(program)
    return program


def without_unread(program: Program) -> Program:
    """Removes equations whose results nobody reads."""
    needed = {value for value in program.outputs if isinstance(value, Var)}
    equations = []
    for equation in reversed(program.equations):
        if needed.intersection(equation.outputs):
            needed.update(value for value in equation.inputs if isinstance(value, Var))
            equations.append(equation)
    return dataclasses.replace(program, equations=equations[::-1])


def shape_of(value: Any) -> tuple[Any, ...]:
    """Returns the shape of a variable or constant."""
    return value.shape if isinstance(value, np.ndarray) else value.aval.shape


def _as_numpy(value: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(value) if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key) else value)


def _is_identity(source: Any) -> bool:
    if source.primitive.name == "convert_element_type":
        before, after = (var.aval for var in (source.invars[0], source.outvars[0]))
        return before.dtype == after.dtype
    return source.primitive.name in _IDENTITIES


def _plain(param: Any) -> Any:
    """Converts NumPy's integers to Python's."""
    if isinstance(param, np.integer):
        return int(param)
    return tuple(map(_plain, param)) if type(param) is tuple else param


def _fold_constants(program: Program) -> Program:
    known: dict[Var, np.ndarray] = {}

    def folded(value: Value) -> Value:
        return known.get(value, value) if isinstance(value, Var) else value

    equations = []
    for equation in program.equations:
        equation.inputs = [*map(folded, equation.inputs)]
        is_constant = all(isinstance(value, np.ndarray) for value in equation.inputs)
        if is_constant and "jaxpr" not in equation.params and _has_static_shapes(equation):
            known |= dict(zip(equation.outputs, _computed(equation), strict=True))
        else:
            equations.append(equation)
    return Program(program.inputs, [*map(folded, program.outputs)], equations)


def _has_static_shapes(equation: Equation) -> bool:
    # What a constant is broadcast to does not matter.
    if equation.name == "broadcast_in_dim":
        return True
    return all(isinstance(size, int) for var in equation.outputs for size in var.aval.shape)


def _computed(equation: Equation) -> list[np.ndarray]:
    if equation.name == "broadcast_in_dim":
        return [_broadcast(equation.inputs[0], equation.params)]
    primitive, params = equation.source.primitive, equation.source.params
    with jax.default_device(jax.devices("cpu")[0]), jax.ensure_compile_time_eval():
        results = primitive.bind(*equation.inputs, **params)
    return [np.asarray(result) for result in (results if primitive.multiple_results else [results])]


def _broadcast(array: Any, params: dict[str, Any]) -> np.ndarray:
    """Returns a view; along a symbolic axis, one that has size 1."""
    axes, shape = params["broadcast_dimensions"], params["shape"]
    sizes = [1] * len(shape)
    for axis, size in zip(axes, array.shape, strict=True):
        sizes[axis] = size
    return np.broadcast_to(array.reshape(sizes), [n if isinstance(n, int) else 1 for n in shape])


def _as_reshapes(program: Program) -> Program:
    """Gives all equations that only insert and remove axes of size 1 one name, `reshape`."""
    for equation in program.equations:
        if equation.name in ("squeeze", "expand_dims", "broadcast_in_dim"):
            before, after = shape_of(equation.inputs[0]), equation.outputs[0].aval.shape
            # An axis is never moved by these.
            if same_shape(*([n for n in shape if not is_size(n, 1)] for shape in (before, after))):
                equation.name, equation.params = "reshape", {"new_sizes": after}
    return program


def _rewrite(program: Program, rewritten: Callable[[Equation, dict[Any, Equation]], None]) -> Program:
    made_by = {var: equation for equation in program.equations for var in equation.outputs}
    for equation in program.equations:
        rewritten(equation, made_by)
    return program


def _means(program: Program) -> Program:
    """Makes one equation, `reduce_mean`, of a sum that is divided by the number of its terms."""

    def mean(equation: Equation, made_by: dict[Any, Equation]) -> None:
        if equation.name not in ("div", "mul") or not isinstance(equation.inputs[0], Var):
            return
        summed, number = made_by.get(equation.inputs[0]), equation.inputs[1]
        if summed is None or summed.name != "reduce_sum" or not isinstance(number, np.ndarray) or number.size != 1:
            return
        sizes = [shape_of(summed.inputs[0])[axis] for axis in summed.params["axes"]]
        if not all(isinstance(size, int) for size in sizes):
            return
        terms = np.asarray(math.prod(sizes), number.dtype)
        wanted = terms if equation.name == "div" else 1 / terms
        if number.item() == wanted.item():
            equation.name, equation.inputs, equation.params = "reduce_mean", summed.inputs, summed.params

    return _rewrite(program, mean)


def _kept_axes(program: Program) -> Program:
    """Lets reductions keep their axes, with size 1, where a reshape inserts them again."""

    def kept(equation: Equation, made_by: dict[Any, Equation]) -> None:
        before = equation.inputs[0] if equation.name == "reshape" else None
        reduction = made_by.get(before) if isinstance(before, Var) else None
        if reduction is None or not reduction.name.startswith("reduce_") or reduction.params.get("keepdims"):
            return
        axes = reduction.params.get("axes")
        if axes is None:
            return
        wanted = [1 if axis in axes else size for axis, size in enumerate(shape_of(reduction.inputs[0]))]
        if same_shape(wanted, equation.outputs[0].aval.shape):
            equation.name, equation.inputs = reduction.name, reduction.inputs
            equation.params = reduction.params | {"keepdims": True}

    return _rewrite(program, kept)
