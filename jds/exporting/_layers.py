"""The layers of a program that have weights, each with a name of its own."""

import collections
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from jds.exporting._blame import scope_of


class Layer(NamedTuple):
    """A convolution or a matrix product with weights.

    Attributes:
      name: the path of its module; if that has several, followed by the kind, as in `stages/0/0/depthwise`.
      equation: its place among the equations of the program.
      weights: the place of its weights among its operands.
      features: the axes of the weights that are not summed over: one scale of rounding for each of their positions.
    """

    name: str
    equation: int
    weights: int
    features: tuple[int, ...]


def find_layers(jaxpr: ClosedJaxpr, constants: int) -> tuple[ClosedJaxpr, list[Layer]]:
    """Finds the layers of a program, and makes their names scopes of their equations.

    Args:
      jaxpr: the program, without calls.
      constants: number of its arguments that are constants, from the first.

    Returns:
      The program, and its layers in order.
    """
    known: set[Any] = {*jaxpr.jaxpr.constvars, *jaxpr.jaxpr.invars[:constants]}
    found: list[tuple[int, int]] = []
    for place, equation in enumerate(jaxpr.jaxpr.eqns):
        fixed = [isinstance(atom, Literal) or atom in known for atom in equation.invars]
        if all(fixed):
            known.update(equation.outvars)
        elif equation.primitive.name in ("conv_general_dilated", "dot_general") and any(fixed):
            found.append((place, fixed.index(True)))
    names = _names([jaxpr.jaxpr.eqns[place] for place, _ in found])
    equations = list(jaxpr.jaxpr.eqns)
    layers = []
    for (place, weights), name in zip(found, names, strict=True):
        equation = equations[place]
        if name != (scope := scope_of(equation)):
            stack = equation.source_info.name_stack.extend(name.removeprefix(f"{scope}/"))
            equations[place] = equation.replace(source_info=equation.source_info.replace(name_stack=stack))
        layers.append(Layer(name, place, weights, _features(equation, weights)))
    return ClosedJaxpr(jaxpr.jaxpr.replace(eqns=equations), jaxpr.consts), layers


def select(layers: Sequence[Layer], wanted: Collection[str], option: str) -> list[Layer]:
    """Returns the layers with these names, or in modules with these paths.

    Raises:
      ValueError: there is no such layer.
    """
    chosen = []
    for name in wanted:
        matches = [layer for layer in layers if layer.name == name or layer.name.startswith(f"{name}/")]
        if not matches:
            names = ", ".join(layer.name for layer in layers)
            raise ValueError(f"export: `{option}` names no layer {name!r}; the layers are {names}")
        chosen += matches
    return [layer for layer in layers if layer in chosen]


def _names(equations: Sequence[JaxprEqn]) -> list[str]:
    scopes = [scope_of(equation) for equation in equations]
    shared = collections.Counter(scopes)
    names = [
        scope if shared[scope] == 1 and scope else f"{scope}/{_kind(equation)}".lstrip("/")
        for scope, equation in zip(scopes, equations, strict=True)
    ]
    counts = collections.Counter(names)
    return [f"{name}_{names[:place].count(name)}" if counts[name] > 1 else name for place, name in enumerate(names)]


def _kind(equation: JaxprEqn) -> str:
    if equation.primitive.name == "dot_general":
        return "dense"
    numbers, groups = equation.params["dimension_numbers"], equation.params["feature_group_count"]
    shape: Any = equation.invars[1].aval
    if groups > 1 and shape.shape[numbers.rhs_spec[1]] == 1:
        return "depthwise"
    is_pointwise = all(shape.shape[axis] == 1 for axis in numbers.rhs_spec[2:])
    return "pointwise" if is_pointwise else "conv"


def _features(equation: JaxprEqn, weights: int) -> tuple[int, ...]:
    if equation.primitive.name == "conv_general_dilated":
        return (equation.params["dimension_numbers"].rhs_spec[0],)
    contracting, _ = equation.params["dimension_numbers"]
    aval: Any = equation.invars[weights].aval
    return tuple(axis for axis in range(aval.ndim) if axis not in contracting[weights])


Step = Callable[[int, Callable[..., list[Any]], list[Any]], Sequence[Any]]


def evaluate(jaxpr: ClosedJaxpr, values: Sequence[Any], step: Step) -> list[Any]:
    """Evaluates a program, with `step(place, call, operands)` for the results of its equation at `place`.

    `call(*operands)` computes what the equation says.
    """
    known: dict[Any, Any] = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    known |= zip(jaxpr.jaxpr.invars, values, strict=True)
    for place, equation in enumerate(jaxpr.jaxpr.eqns):
        # One equation at a time, because a primitive's own interface differs between versions of JAX.
        variables = list(dict.fromkeys(atom for atom in equation.invars if isinstance(atom, Var)))
        one = jaxpr.jaxpr.replace(constvars=[], invars=variables, outvars=equation.outvars, eqns=[equation])
        results = step(place, jaxpr_as_fun(ClosedJaxpr(one, [])), [known[variable] for variable in variables])
        known |= zip(equation.outvars, results, strict=True)
    return [atom.val if isinstance(atom, Literal) else known[atom] for atom in jaxpr.jaxpr.outvars]
