"""Flattens a jaxpr, including all jaxprs that it calls, into a `Program`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Jaxpr
from jax.extend.core import Literal as JaxprLiteral

from jds._common.name_stack import read_scopes
from jds.cost._counts import Counts
from jds.cost._program import Conditional, Conventions, Operation, Phase, Program, ScopePath, Value
from jds.cost.rules import Cost, Equation, find_rule


class _Place(NamedTuple):
    path: ScopePath = ()
    phase: Phase = "forward"
    times: int = 1
    devices: int = 1


def flatten(jaxpr: Jaxpr, parameters: Iterable[int], conventions: Conventions) -> Program:
    """Flattens a jaxpr and all jaxprs that it calls.

    Args:
      jaxpr: the program; its constants come before its arguments.
      parameters: indices of the parameters among the constants and arguments.
      conventions: the options of `analyze`.
    """
    program = Program(conventions)
    program.inputs += [_add_value(program, var.aval) for var in (*jaxpr.constvars, *jaxpr.invars)]
    for number in parameters:
        program.values[number].parameter = number
    results = _follow(program, jaxpr, program.inputs, _Place())
    passed_on = set(program.inputs)
    program.results += dict.fromkeys(i for i in results if i is not None and i not in passed_on)
    for number in program.results:
        _use(program, number, None)
    return program


def _add_value(program: Program, aval: Any, times: int = 1, made_by: int | None = None) -> int:
    elements = math.prod(getattr(aval, "shape", ()))
    program.values.append(Value(elements * _itemsize(aval), elements, times, made_by))
    return len(program.values) - 1


def _itemsize(aval: Any) -> int:
    # Random keys have an extended dtype, and tokens have no dtype.
    return getattr(getattr(aval, "dtype", None), "itemsize", 0)


def _use(program: Program, number: int | None, operation: int | None) -> None:
    if number is not None:
        program.values[number].used_by.append(operation)


def _follow(program: Program, jaxpr: Any, inputs: Sequence[int | None], place: _Place) -> list[int | None]:
    """Adds the operations of a jaxpr, given the values of its constants and arguments; returns its results' values."""
    env: dict[Any, int | None] = dict(zip((*jaxpr.constvars, *jaxpr.invars), inputs, strict=True))

    def read(atom: Any) -> int | None:
        return None if isinstance(atom, JaxprLiteral) else env[atom]

    for eqn in jaxpr.eqns:
        outputs = _follow_equation(program, eqn, [read(atom) for atom in eqn.invars], _place_of(eqn, place))
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _place_of(eqn: Any, outer: _Place) -> _Place:
    scopes = read_scopes(str(eqn.source_info.name_stack))
    is_backward = scopes.is_backward or outer.phase == "backward"
    return outer._replace(path=outer.path + scopes.path, phase="backward" if is_backward else "forward")


def _follow_equation(program: Program, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    follow = _CONTROL.get(eqn.primitive.name)
    if follow is not None:
        return follow(program, eqn, inputs, place)
    body = None if find_rule(eqn.primitive.name) else _own_jaxpr(eqn)
    if body is not None:
        return _follow_closed(program, body, inputs, place)
    return _add_operation(program, eqn, inputs, place)


def _own_jaxpr(eqn: Any) -> Any:
    """Returns the jaxpr that an equation stands for, whose inputs and outputs have the equation's shapes and dtypes."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call"):
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


def _follow_closed(program: Program, body: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    """Adds the operations of a jaxpr, closed or not."""
    if not hasattr(body, "consts"):
        return _follow(program, body, inputs, place)
    constants = [_add_value(program, var.aval) for var in body.jaxpr.constvars]
    return _follow(program, body.jaxpr, [*constants, *inputs], place)


def _add_operation(program: Program, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    conventions, values, number = program.conventions, program.values, len(program.operations)
    read = tuple(dict.fromkeys(i for i in inputs if i is not None))
    weights = [i is not None and values[i].parameter is not None for i in inputs]
    equation = Equation(
        primitive=eqn.primitive.name,
        inputs=[atom.aval for atom in eqn.invars],
        outputs=[var.aval for var in eqn.outvars],
        params=eqn.params,
        count_padding=conventions.count_padding,
        is_backward=place.phase == "backward",
        weights=weights,
    )
    name, cost = _cost_of(equation)
    written = tuple(_add_value(program, var.aval, place.times, number) for var in eqn.outvars)
    for i in read:
        _use(program, i, number)
    parameters = {values[i].parameter for i in read}
    for parameter in parameters:
        if parameter is not None:
            program.first_readers.setdefault(parameter, number)
    if len(parameters) == 1 and None not in parameters:
        for i in written:
            values[i].parameter = values[read[0]].parameter
    ones = [_is_one(program, atom, i) for atom, i in zip(eqn.invars, inputs, strict=True)]
    if name in _KEEP_ONE and all(ones):
        values[written[0]].is_one = True
    program.operations.append(
        Operation(
            equation=equation,
            name=name,
            cost=cost,
            path=place.path,
            phase=place.phase,
            times=place.times,
            devices=place.devices,
            inputs=read,
            outputs=written,
            is_by_one=name == "mul" and any(ones),
        )
    )
    return list(written)


_KEEP_ONE = ("broadcast_in_dim", "convert_element_type", "reshape")


def _is_one(program: Program, atom: Any, number: int | None) -> bool:
    if number is not None:
        return program.values[number].is_one
    return isinstance(atom, JaxprLiteral) and np.ndim(atom.val) == 0 and bool(atom.val == 1)


def _cost_of(equation: Equation) -> tuple[str, Cost | None]:
    name, params = equation.primitive, equation.params
    if name == "ffi_call":
        name = f"ffi_call:{params['target_name']}"
    elif name == "pallas_call":
        estimate = params.get("cost_estimate")
        name = f"pallas_call:{params.get('name') or getattr(params.get('name_and_src_info'), 'name', '')}"
        if estimate is not None and not find_rule(name):
            counts = Counts(flops=int(estimate.flops), transcendentals=int(estimate.transcendentals))
            return name, Cost("element-wise", counts)
    rule = find_rule(name)
    return name, rule(equation) if rule else None


def _follow_scan(program: Program, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    length, body = eqn.params["length"], eqn.params["jaxpr"].jaxpr
    times = place.times * length
    # Arrays that are sliced or stacked have one axis fewer in the body. Other indications vary between JAX versions.
    carries = sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(eqn.outvars, body.outvars, strict=True))
    sliced = sum(len(a.aval.shape) > len(b.aval.shape) for a, b in zip(eqn.invars, body.invars, strict=True))
    constants = len(eqn.invars) - carries - sliced
    inner: list[int | None] = list(inputs[:constants])
    for i, var in enumerate(body.invars[constants:]):
        outer = inputs[constants + i]
        number = _add_value(program, var.aval, times)
        if i >= carries and outer is not None:
            program.values[number].parameter = program.values[outer].parameter
        if length:
            _use(program, outer, None)
        inner.append(number)
    closed = [_add_value(program, var.aval) for var in body.constvars]
    for number in _follow(program, body, [*closed, *inner], place._replace(times=times)):
        _use(program, number, None)
    return [_add_value(program, var.aval, place.times) for var in eqn.outvars]


def _follow_while(program: Program, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    params = eqn.params
    trips = _trips(program.conventions.trip_counts, place.path)
    if trips is None:
        program.unknown_trips.append(place.path)
    times = place.times * (1 if trips is None else trips)
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    of_condition, of_body, carried = inputs[: split[0]], inputs[split[0] : split[1]], inputs[split[1] :]
    for body, constants, runs in (
        # The condition is evaluated one more time than the body.
        (params["cond_jaxpr"], of_condition, times + place.times),
        (params["body_jaxpr"], of_body, times),
    ):
        carry = [_add_value(program, var.aval, runs) for var in body.jaxpr.invars[len(constants) :]]
        for number in _follow_closed(program, body, [*constants, *carry], place._replace(times=runs)):
            _use(program, number, None)
    for number in carried:
        _use(program, number, None)
    return [_add_value(program, var.aval, place.times) for var in eqn.outvars]


def _trips(trip_counts: int | Mapping[str, int] | None, path: ScopePath) -> int | None:
    return trip_counts.get("/".join(path)) if isinstance(trip_counts, Mapping) else trip_counts


def _follow_cond(program: Program, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    _use(program, inputs[0], None)
    branches = eqn.params["branches"]
    platforms = eqn.params.get("branches_platforms")
    if platforms is not None:
        here = [i for i, names in enumerate(platforms) if names is None or program.conventions.platform in names]
        return _follow_closed(program, branches[here[0]], inputs[1:], place) if here else []
    trials, totals, results = [], [], []
    for branch in branches:
        trials.append(program.copy())
        results.append(_follow_closed(trials[-1], branch, inputs[1:], place))
        new = trials[-1].operations[len(program.operations) :]
        totals.append(sum((operation.counts for operation in new), Counts()))
    counted = max(range(len(totals)), key=lambda i: (sum(totals[i][2:]), totals[i]))
    program.become(trials[counted])
    program.conditionals.append(Conditional(place.path, tuple(totals), counted))
    return results[counted]


def _follow_shard_map(program: Program, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    body, mesh = eqn.params["jaxpr"], eqn.params["mesh"]
    inner = []
    for number, var in zip(inputs, body.invars, strict=True):
        _use(program, number, None)
        inner.append(_add_value(program, var.aval))
        if number is not None:
            program.values[inner[-1]].parameter = program.values[number].parameter
    # JAX 0.10.1 and older use the other name.
    axes = eqn.params["newly_manual_axes" if "newly_manual_axes" in eqn.params else "manual_axes"]
    devices = math.prod(mesh.shape[axis] for axis in axes)
    for number in _follow(program, body, inner, place._replace(devices=place.devices * devices)):
        _use(program, number, None)
    return [_add_value(program, var.aval, place.times) for var in eqn.outvars]


def _follow_high_level(program: Program, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    # From JAX 0.12 on, such a primitive can expand to the equations it stands for.
    body = jax.make_jaxpr(eqn.params["_prim"].expand)(*(atom.aval for atom in eqn.invars))
    return _follow_closed(program, body, inputs, place)


def _follow_linear_solve(program: Program, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    # Only `solve` of its four functions runs.
    lengths, solve = eqn.params["const_lengths"], eqn.params["jaxprs"].solve
    start = lengths.matvec + lengths.vecmat
    right = inputs[sum(lengths) :]
    return _follow_closed(program, solve, [*inputs[start : start + lengths.solve], *right], place)


_CONTROL = {
    "custom_linear_solve": _follow_linear_solve,
    "call_hi_primitive": _follow_high_level,
    "scan": _follow_scan,
    "while": _follow_while,
    "cond": _follow_cond,
    "shard_map": _follow_shard_map,
}
