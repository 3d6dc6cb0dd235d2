"""Follows the equations of a jaxpr, and adds their operations to a `Program`."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Jaxpr
from jax.extend.core import Literal as JaxprLiteral

from jds._common.name_stack import distinct, scopes_of
from jds._common.openings import openings
from jds.cost._counts import Counts
from jds.cost._program import Conventions, Operation, Phase, Program, ScopePath, Value
from jds.cost._sizes import array_bytes
from jds.cost.rules import ELEMENTWISE, SCATTERS, Cost, Equation, find_rule


class Place(NamedTuple):
    path: ScopePath = ()
    phase: Phase = "forward"
    times: int = 1
    devices: int = 1
    is_recomputed: bool = False


# By identity, the arrays that functions close over, which are kept alive, and their values.
Constants = dict[int, tuple[Any, int]]
# Programs of branches and of functions of scalars, by the identity of their jaxpr, which is kept alive, and their path.
Bodies = dict[tuple[int, ScopePath], tuple[Any, Program]]


class Flattening(NamedTuple):
    """A program under construction.

    Attributes:
      program: the program.
      bodies: the bodies that were already flattened.
      constants: the arrays that the program and the functions that it calls close over, and that were seen.
      has_parameters: whether such arrays of floating-point numbers are parameters.
      is_body: whether it is such a body, of which only the sums, the unknowns and the peak of memory are needed. There
        a conditional is one operation, which keeps the time linear in the depth of nested conditionals.
    """

    program: Program
    bodies: Bodies
    constants: Constants
    has_parameters: bool = False
    is_body: bool = False


# How to follow equations with control flow, by their primitive.
FollowEquation = Callable[[Flattening, Any, list[int | None], Place], list[int | None]]
CONTROL: dict[str, FollowEquation] = {}


def new_program(conventions: Conventions, variables: Iterable[Any]) -> Program:
    """Returns a program with inputs and without operations."""
    program = Program(conventions)
    program.inputs += [add_value(program, var.aval) for var in variables]
    return program


def fill(to: Flattening, jaxpr: Jaxpr, place: Place) -> None:
    """Adds the operations and the results of a jaxpr, whose constants and arguments are the program's inputs."""
    program = to.program
    results = follow(to, jaxpr, program.inputs, place)
    inputs = set(program.inputs)
    for i in dict.fromkeys(results):
        if i is not None:
            (program.passed_on if i in inputs else program.results).append(i)
    for number in program.results:
        use(program, number, None)


def add_value(program: Program, aval: Any, times: int = 1, *, source: int | None = None) -> int:
    shape, dtype = tuple(getattr(aval, "shape", ())), getattr(aval, "dtype", None)
    program.values.append(Value(shape, dtype, array_bytes(math.prod(shape), dtype), times, source=source))
    return len(program.values) - 1


def use(program: Program, number: int | None, operation: int | None) -> None:
    if number is not None:
        program.values[number].used_by.append(operation)


def follow(to: Flattening, jaxpr: Any, inputs: Sequence[int | None], place: Place) -> list[int | None]:
    """Adds the operations of a jaxpr.

    Args:
      to: where to add them.
      jaxpr: the jaxpr.
      inputs: the values of its constants and arguments.
      place: where it is called.

    Returns:
      The values of its results.
    """
    env: dict[Any, int | None] = dict(zip((*jaxpr.constvars, *jaxpr.invars), inputs, strict=True))

    def read(atom: Any) -> int | None:
        return None if isinstance(atom, JaxprLiteral) else env[atom]

    for eqn in jaxpr.eqns:
        outputs = _follow_equation(to, eqn, [read(atom) for atom in eqn.invars], _place_of(eqn, place))
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _place_of(eqn: Any, outer: Place) -> Place:
    scopes = scopes_of(eqn)
    is_backward = scopes.is_backward or outer.phase == "backward"
    # JAX 0.12 repeats the scopes around some functions with their own derivative in the equations of these.
    return outer._replace(
        path=distinct((*outer.path, *scopes.path)),
        phase="backward" if is_backward else "forward",
        is_recomputed=outer.is_recomputed or scopes.is_recomputed,
    )


def _follow_equation(to: Flattening, eqn: Any, inputs: list[int | None], place: Place) -> list[int | None]:
    name = eqn.primitive.name
    follow = CONTROL.get(name)
    if follow is not None:
        return follow(to, eqn, inputs, place)
    if name == "call_hi_primitive":
        body = _expanded(eqn)
        if body is None:
            return _add_operation(to, eqn, inputs, place)
        return follow_closed(to, body, inputs, place)
    body = None if find_rule(name) else _own_jaxpr(eqn)
    if body is not None:
        return follow_closed(to, body, inputs, place)
    return _add_operation(to, eqn, inputs, place)


def _expanded(eqn: Any) -> Any:
    """Returns the jaxpr of the equations that a primitive of high level stands for (from JAX 0.12 on), or None."""
    primitive = eqn.params["_prim"]

    def expand(*leaves: Any) -> Any:
        tree = getattr(primitive, "in_tree", None)
        return primitive.expand(*(leaves if tree is None else tree.unflatten(leaves)))

    try:
        with openings():
            return jax.make_jaxpr(expand)(*(atom.aval for atom in eqn.invars))
    except Exception:  # whatever its author's code raises: its cost is unknown
        return None


def _own_jaxpr(eqn: Any) -> Any:
    """Returns the jaxpr that an equation stands for, whose inputs and outputs have the equation's shapes and dtypes."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call", "callee"):
        body = eqn.params.get(name)
        inner = getattr(body, "jaxpr", body)
        if not hasattr(inner, "eqns"):
            continue
        ours, theirs = (*eqn.invars, *eqn.outvars), (*inner.invars, *inner.outvars)
        if len(eqn.invars) == len(inner.invars) and [_type(a) for a in ours] == [_type(a) for a in theirs]:
            return body
    return None


def _type(atom: Any) -> tuple[Any, Any]:
    return getattr(atom.aval, "shape", None), getattr(atom.aval, "dtype", None)


def follow_closed(to: Flattening, body: Any, inputs: Sequence[int | None], place: Place) -> list[int | None]:
    """Adds the operations of a jaxpr, closed or not."""
    if not hasattr(body, "consts"):
        return follow(to, body, inputs, place)
    return follow(to, body.jaxpr, [*constants_of(to, body), *inputs], place)


def constants_of(to: Flattening, body: Any) -> list[int]:
    """Returns the values of the constants of a closed jaxpr, which are inputs of the program, each once."""
    return [_constant(to, var.aval, array) for var, array in zip(body.jaxpr.constvars, body.consts, strict=True)]


def _constant(to: Flattening, aval: Any, array: Any) -> int:
    if to.is_body:
        return add_value(to.program, aval)
    if id(array) not in to.constants:
        number = add_value(to.program, aval)
        value = to.program.values[number]
        is_floating = value.dtype is not None and jax.numpy.issubdtype(value.dtype, jax.numpy.floating)
        value.role = "parameter" if is_floating else "state"
        value.parameter = number if is_floating and to.has_parameters else None
        to.program.inputs.append(number)
        to.constants[id(array)] = array, number
    return to.constants[id(array)][1]


def flattened(to: Flattening, body: Any, place: Place) -> Program:
    """Returns one run of a jaxpr, closed or not, as a program of its own; each jaxpr is flattened once per path."""
    jaxpr = getattr(body, "jaxpr", body)
    key = id(jaxpr), place.path
    if key not in to.bodies:
        program = new_program(to.program.conventions, (*jaxpr.constvars, *jaxpr.invars))
        to.bodies[key] = jaxpr, program
        fill(Flattening(program, to.bodies, {}, is_body=True), jaxpr, Place(place.path, place.phase))
    return to.bodies[key][1]


# The result is the operand, possibly under another shape: nothing is moved.
_SAME = frozenset({
    "reshape", "squeeze", "expand_dims", "bitcast_convert_type", "stop_gradient", "name", "optimization_barrier",
    "sharding_constraint", "layout_constraint", "device_put", "pvary", "reshard", "reduced_vary_cast",
    "vary_unreduced_cast", "xla_metadata_value",
})  # fmt: skip


def _add_operation(to: Flattening, eqn: Any, inputs: list[int | None], place: Place) -> list[int | None]:
    program = to.program
    conventions, values, number = program.conventions, program.values, len(program.operations)
    equation = Equation(
        primitive=eqn.primitive.name,
        inputs=[atom.aval for atom in eqn.invars],
        outputs=[var.aval for var in eqn.outvars],
        params={name: _as_python(value) for name, value in eqn.params.items()},
        count_padding=conventions.count_padding,
        is_backward=place.phase == "backward",
        weights=[i is not None and values[i].parameter is not None for i in inputs],
        body=_counts_of_body(to, eqn, place),
    )
    name, cost = _cost_of(equation)
    operation = Operation(equation, name, cost, place.path, place.phase, place.times, place.devices)
    if name in _SAME and _are_same(eqn) and None not in inputs:
        program.operations.append(operation)
        return list(inputs)
    copies = place.times * place.devices
    written = tuple(add_value(program, var.aval, copies) for var in eqn.outvars)
    for i in written:
        values[i].made_by = number
    literals = tuple(atom.val if isinstance(atom, JaxprLiteral) else None for atom in eqn.invars)
    operation = operation._replace(
        operands=tuple(inputs),
        literals=literals if None in inputs else (),
        outputs=written,
        is_elementwise=name in ELEMENTWISE,
        is_recomputed=place.is_recomputed,
    )
    _mark_parameters(program, operation, number)
    ones = [_is_one(program, atom, i) for atom, i in zip(eqn.invars, inputs, strict=True)]
    if name in _KEEP_ONE and all(ones):
        values[written[0]].is_one = True
    program.operations.append(operation._replace(is_by_one=name == "mul" and any(ones)))
    return list(written)


def _as_python(value: Any) -> Any:
    """Returns a parameter with Python's integers, which do not overflow, for those of NumPy."""
    if isinstance(value, np.integer):
        return int(value)
    if not isinstance(value, tuple) or not value:
        return value
    items = [_as_python(item) for item in value]
    if all(map(operator.is_, items, value)):
        return value
    return type(value)(*items) if hasattr(value, "_fields") else tuple(items)


def _are_same(eqn: Any) -> bool:
    sizes = [math.prod(getattr(atom.aval, "shape", ())) for atom in (*eqn.invars, *eqn.outvars)]
    middle = len(eqn.invars)
    return sizes[:middle] == sizes[middle:]


def _mark_parameters(program: Program, operation: Operation, number: int) -> None:
    """Notes who reads what, and which values are computed from one parameter alone."""
    values, read = program.values, operation.inputs
    for i in read:
        use(program, i, number)
    parameters = {values[i].parameter for i in read}
    for parameter in parameters:
        if parameter is not None:
            program.first_readers.setdefault(parameter, number)
    if len(parameters) == 1 and None not in parameters:
        for i in operation.outputs:
            values[i].parameter = values[read[0]].parameter


_KEEP_ONE = ("broadcast_in_dim", "convert_element_type", "reshape")


def _is_one(program: Program, atom: Any, number: int | None) -> bool:
    if number is not None:
        return program.values[number].is_one
    return isinstance(atom, JaxprLiteral) and np.ndim(atom.val) == 0 and bool(atom.val == 1)


# Primitives with a function of scalars, and the parameter that holds it.
_BODIES = {"reduce": "jaxpr", "reduce_window": "jaxpr"} | dict.fromkeys(SCATTERS, "update_jaxpr")


def _counts_of_body(to: Flattening, eqn: Any, place: Place) -> Counts | None:
    """Returns the cost of one run of the function of scalars that an equation applies; None if there is none, or if it
    is unknown."""
    if eqn.primitive.name not in _BODIES:
        return None
    body = eqn.params[_BODIES[eqn.primitive.name]]
    if body is None:  # a scatter that replaces elements
        return Counts()
    program = flattened(to, body, place)
    return None if program.uncounted or program.unknown_trips else program.counts


def _cost_of(equation: Equation) -> tuple[str, Cost | None]:
    name, params = equation.primitive, equation.params
    if name == "ffi_call":
        name = f"ffi_call:{params['target_name']}"
    elif name == "pallas_call":
        estimate = params.get("cost_estimate")
        name = f"pallas_call:{params.get('name') or _kernel_name(params)}"
        if estimate is not None and not find_rule(name):
            counts = Counts(flops=int(estimate.flops), transcendentals=int(estimate.transcendentals))
            return name, Cost("element-wise", counts)
    elif name == "call_hi_primitive":
        name = type(params["_prim"]).__name__
    rule = find_rule(name)
    return name, rule(equation) if rule else None


def _kernel_name(params: Mapping[str, Any]) -> str:
    """Returns the name of the function that a Pallas kernel was written as."""
    if name := getattr(params.get("name_and_src_info"), "name", ""):
        return name
    information = getattr(params["jaxpr"], "debug_info", None)
    return str(getattr(information, "func_name", "kernel")) if information is not None else "kernel"
