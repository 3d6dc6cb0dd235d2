"""Flattens a jaxpr, including all jaxprs that it calls, into a `Program`."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Jaxpr
from jax.extend.core import Literal as JaxprLiteral

from jds._common.name_stack import scopes_of
from jds._common.traceable import Role
from jds.cost._counts import Counts
from jds.cost._program import Carry, Conditional, Conventions, Loop, Operation, Phase, Program, ScopePath, Value
from jds.cost.rules import ELEMENTWISE, Cost, Equation, find_rule


class _Place(NamedTuple):
    path: ScopePath = ()
    phase: Phase = "forward"
    times: int = 1
    devices: int = 1


# Programs of branches and of functions of scalars, by the identity of their jaxpr, which is kept alive, and their path.
_Bodies = dict[tuple[int, ScopePath], tuple[Any, Program]]


class _Flattening(NamedTuple):
    """A program under construction.

    Attributes:
      program: the program.
      bodies: the bodies that were already flattened.
      is_body: whether it is such a body, of which only the sums, the unknowns and the peak of memory are needed. There
        a conditional is one operation, which keeps the time linear in the depth of nested conditionals.
    """

    program: Program
    bodies: _Bodies
    is_body: bool = False


def flatten(jaxpr: Jaxpr, roles: Sequence[Role], parameters: Iterable[int], conventions: Conventions) -> Program:
    """Flattens a jaxpr and all jaxprs that it calls.

    Args:
      jaxpr: the program; its constants come before its arguments.
      roles: the role of each constant and argument.
      parameters: indices of the parameters among the constants and arguments.
      conventions: the options of `analyze`.
    """
    program = _new_program(conventions, (*jaxpr.constvars, *jaxpr.invars))
    for number, role in zip(program.inputs, roles, strict=True):
        program.values[number].role = role
    for number in parameters:
        program.values[number].parameter = number
        program.values[number].role = "parameter"
    _fill(_Flattening(program, {}), jaxpr, _Place())
    return program


def _new_program(conventions: Conventions, variables: Iterable[Any]) -> Program:
    """Returns a program with inputs and without operations."""
    program = Program(conventions)
    program.inputs += [_add_value(program, var.aval) for var in variables]
    return program


def _fill(to: _Flattening, jaxpr: Jaxpr, place: _Place) -> None:
    """Adds the operations and the results of a jaxpr, whose constants and arguments are the program's inputs."""
    program = to.program
    results = _follow(to, jaxpr, program.inputs, place)
    passed_on = set(program.inputs)
    program.results += dict.fromkeys(i for i in results if i is not None and i not in passed_on)
    for number in program.results:
        _use(program, number, None)


def _add_value(program: Program, aval: Any, times: int = 1, *, source: int | None = None) -> int:
    shape, dtype = tuple(getattr(aval, "shape", ())), getattr(aval, "dtype", None)
    # Random keys have an extended dtype, and tokens have no dtype.
    size = math.prod(shape) * getattr(dtype, "itemsize", 0)
    program.values.append(Value(shape, dtype, size, times, source=source))
    return len(program.values) - 1


def _use(program: Program, number: int | None, operation: int | None) -> None:
    if number is not None:
        program.values[number].used_by.append(operation)


def _follow(
    to: _Flattening, jaxpr: Any, inputs: Sequence[int | None], place: _Place, repeated: ScopePath = ()
) -> list[int | None]:
    """Adds the operations of a jaxpr.

    Args:
      to: where to add them.
      jaxpr: the jaxpr.
      inputs: the values of its constants and arguments.
      place: where it is called.
      repeated: the scopes of the equation that calls it. JAX 0.12 repeats them in the equations of some functions with
        their own derivative.

    Returns:
      The values of its results.
    """
    env: dict[Any, int | None] = dict(zip((*jaxpr.constvars, *jaxpr.invars), inputs, strict=True))

    def read(atom: Any) -> int | None:
        return None if isinstance(atom, JaxprLiteral) else env[atom]

    places = [_place_of(eqn, place, ()) for eqn in jaxpr.eqns]
    if repeated and places:
        start = len(place.path)
        if all(inner.path[start : start + len(repeated)] == repeated for inner in places):
            places = [_place_of(eqn, place, repeated) for eqn in jaxpr.eqns]
    for eqn, inner in zip(jaxpr.eqns, places, strict=True):
        own = inner.path[len(place.path) :]
        outputs = _follow_equation(to, eqn, [read(atom) for atom in eqn.invars], inner, own)
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _place_of(eqn: Any, outer: _Place, repeated: ScopePath) -> _Place:
    scopes = scopes_of(eqn)
    is_backward = scopes.is_backward or outer.phase == "backward"
    path = outer.path + scopes.path[len(repeated) :]
    return outer._replace(path=path, phase="backward" if is_backward else "forward")


def _follow_equation(
    to: _Flattening, eqn: Any, inputs: list[int | None], place: _Place, own: ScopePath
) -> list[int | None]:
    """Adds the operations of an equation; `own` are the scopes that it adds to those around it."""
    name = eqn.primitive.name
    follow = _CONTROL.get(name)
    if follow is not None:
        return follow(to, eqn, inputs, place)
    if name == "call_hi_primitive":
        body = _expanded(eqn)
        if body is None:
            return _add_operation(to, eqn, inputs, place)
        return _follow_closed(to, body, inputs, place, own)
    body = None if find_rule(name) else _own_jaxpr(eqn)
    if body is not None:
        return _follow_closed(to, body, inputs, place, own if name.startswith("custom_") else ())
    return _add_operation(to, eqn, inputs, place)


def _expanded(eqn: Any) -> Any:
    """Returns the jaxpr of the equations that a primitive of high level stands for (from JAX 0.12 on), or None."""
    primitive = eqn.params["_prim"]

    def expand(*leaves: Any) -> Any:
        tree = getattr(primitive, "in_tree", None)
        return primitive.expand(*(leaves if tree is None else tree.unflatten(leaves)))

    try:
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


def _follow_closed(
    to: _Flattening, body: Any, inputs: Sequence[int | None], place: _Place, repeated: ScopePath = ()
) -> list[int | None]:
    """Adds the operations of a jaxpr, closed or not."""
    if not hasattr(body, "consts"):
        return _follow(to, body, inputs, place, repeated)
    constants = [_add_value(to.program, var.aval) for var in body.jaxpr.constvars]
    return _follow(to, body.jaxpr, [*constants, *inputs], place, repeated)


def _flattened(to: _Flattening, body: Any, place: _Place) -> Program:
    """Returns one run of a jaxpr, closed or not, as a program of its own; each jaxpr is flattened once per path."""
    jaxpr = getattr(body, "jaxpr", body)
    key = id(jaxpr), place.path
    if key not in to.bodies:
        program = _new_program(to.program.conventions, (*jaxpr.constvars, *jaxpr.invars))
        to.bodies[key] = jaxpr, program
        _fill(_Flattening(program, to.bodies, is_body=True), jaxpr, _Place(place.path, place.phase))
    return to.bodies[key][1]


# The result is the operand, possibly under another shape: nothing is moved.
_SAME = frozenset({
    "reshape", "squeeze", "expand_dims", "bitcast_convert_type", "stop_gradient", "name", "optimization_barrier",
    "sharding_constraint", "layout_constraint", "device_put", "pvary", "reshard", "reduced_vary_cast",
    "vary_unreduced_cast", "xla_metadata_value",
})  # fmt: skip


def _add_operation(to: _Flattening, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    program = to.program
    conventions, values, number = program.conventions, program.values, len(program.operations)
    equation = Equation(
        primitive=eqn.primitive.name,
        inputs=[atom.aval for atom in eqn.invars],
        outputs=[var.aval for var in eqn.outvars],
        params=eqn.params,
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
    written = tuple(_add_value(program, var.aval, copies) for var in eqn.outvars)
    for i in written:
        values[i].made_by = number
    operation = operation._replace(operands=tuple(inputs), outputs=written, is_elementwise=name in ELEMENTWISE)
    _mark_parameters(program, operation, number)
    ones = [_is_one(program, atom, i) for atom, i in zip(eqn.invars, inputs, strict=True)]
    if name in _KEEP_ONE and all(ones):
        values[written[0]].is_one = True
    program.operations.append(operation._replace(is_by_one=name == "mul" and any(ones)))
    return list(written)


def _are_same(eqn: Any) -> bool:
    sizes = [math.prod(getattr(atom.aval, "shape", ())) for atom in (*eqn.invars, *eqn.outvars)]
    middle = len(eqn.invars)
    return sizes[:middle] == sizes[middle:]


def _mark_parameters(program: Program, operation: Operation, number: int) -> None:
    """Notes who reads what, and which values are computed from one parameter alone."""
    values, read = program.values, operation.inputs
    for i in read:
        _use(program, i, number)
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
_BODIES = {"reduce": "jaxpr", "reduce_window": "jaxpr"} | {
    f"scatter{ending}": "update_jaxpr" for ending in ("", "-add", "-sub", "-mul", "-min", "-max")
}


def _counts_of_body(to: _Flattening, eqn: Any, place: _Place) -> Counts | None:
    """Returns the cost of one run of the function of scalars that an equation applies; None if there is none, or if it
    is unknown."""
    if eqn.primitive.name not in _BODIES:
        return None
    body = eqn.params[_BODIES[eqn.primitive.name]]
    if body is None:  # a scatter that replaces elements
        return Counts()
    program = _flattened(to, body, place)
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


def _follow_scan(to: _Flattening, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    program, values = to.program, to.program.values
    length, body = eqn.params["length"], eqn.params["jaxpr"].jaxpr
    inside = place._replace(times=place.times * length)
    copies = inside.times * inside.devices
    # Arrays that are sliced or stacked have one axis fewer in the body. Other indications vary between JAX versions.
    carries = sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(eqn.outvars, body.outvars, strict=True))
    sliced = sum(len(a.aval.shape) > len(b.aval.shape) for a, b in zip(eqn.invars, body.invars, strict=True))
    constants = len(eqn.invars) - carries - sliced
    entering = [
        _enter(program, var.aval, copies, outer)
        for var, outer in zip(body.invars[constants:], inputs[constants:], strict=True)
    ]
    for i, outer in zip(entering[carries:], inputs[constants + carries :], strict=True):
        if outer is not None:
            values[i].parameter = values[outer].parameter
    if length:
        for outer in inputs[constants:]:
            _use(program, outer, None)
    closed = [_add_value(program, var.aval) for var in body.constvars]
    start, before_loop = len(program.operations), len(program.loops)
    after = _follow(to, body, [*closed, *inputs[:constants], *entering], inside)
    results = [_leave(program, var.aval, place, inner) for var, inner in zip(eqn.outvars, after, strict=True)]
    initial, slices = inputs[constants:][:carries], inputs[constants + carries :]
    program.loops.append(
        Loop(
            start,
            len(program.operations),
            length,
            carries=tuple(
                Carry(before, (inner,), last, result)
                for before, inner, last, result in zip(
                    initial, entering[:carries], after[:carries], results[:carries], strict=True
                )
            ),
            slices=tuple(zip(slices, entering[carries:], strict=True)),
            stacks=tuple(zip(after[carries:], results[carries:], strict=True)),
            inner=_take_loops(program, before_loop),
        )
    )
    return list(results)


def _take_loops(program: Program, start: int) -> tuple[Loop, ...]:
    """Removes and returns the loops that were added since there were `start` of them."""
    taken = tuple(program.loops[start:])
    del program.loops[start:]
    return taken


def _enter(program: Program, aval: Any, copies: int, outer: int | None) -> int:
    """Adds the value that an array has inside a loop."""
    return _add_value(program, aval, copies, source=outer)


def _leave(program: Program, aval: Any, place: _Place, inner: int | None) -> int:
    """Adds the value that an array has after a loop."""
    _use(program, inner, None)
    return _add_value(program, aval, place.times * place.devices, source=inner)


def _follow_while(to: _Flattening, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    program, params = to.program, eqn.params
    trips = _trips(program.conventions.trip_counts, place.path)
    program.while_loops.append(place.path)
    if trips is None:
        program.unknown_trips.append(place.path)
    counted = 1 if trips is None else trips
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    of_condition, of_body, carried = inputs[: split[0]], inputs[split[0] : split[1]], inputs[split[1] :]
    for number in carried:
        _use(program, number, None)
    start, before_loop = len(program.operations), len(program.loops)
    entered, after = [], []
    for body, constants, runs in (
        # The condition is evaluated one more time than the body.
        (params["cond_jaxpr"], of_condition, counted + 1),
        (params["body_jaxpr"], of_body, counted),
    ):
        inside = place._replace(times=place.times * runs)
        variables = body.jaxpr.invars[len(constants) :]
        entered.append(
            [
                _enter(program, var.aval, inside.times * inside.devices, outer)
                for var, outer in zip(variables, carried, strict=True)
            ]
        )
        after = _follow_closed(to, body, [*constants, *entered[-1]], inside)
        if body is params["cond_jaxpr"]:
            _use(program, after[0], None)
    results = [_leave(program, var.aval, place, inner) for var, inner in zip(eqn.outvars, after, strict=True)]
    carries = map(Carry, carried, zip(*entered, strict=True), after, results)
    inner = _take_loops(program, before_loop)
    program.loops.append(Loop(start, len(program.operations), trips, tuple(carries), inner=inner))
    return list(results)


def _trips(trip_counts: int | Mapping[str, int] | None, path: ScopePath) -> int | None:
    return trip_counts.get("/".join(path)) if isinstance(trip_counts, Mapping) else trip_counts


def _follow_cond(to: _Flattening, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    program = to.program
    _use(program, inputs[0], None)
    branches = eqn.params["branches"]
    platforms = eqn.params.get("branches_platforms")
    if platforms is not None:
        wanted = _LOWERING_PLATFORMS.get(program.conventions.platform, (program.conventions.platform,))
        here = [i for i, names in enumerate(platforms) if names is None or any(name in wanted for name in names)]
        return _follow_closed(to, branches[here[0]], inputs[1:], place) if here else []
    trials = [_flattened(to, branch, place) for branch in branches]
    totals = tuple(trial.counts for trial in trials)
    counted = max(range(len(totals)), key=lambda i: (sum(totals[i][2:]), totals[i]))
    are_lower_bounds = tuple(bool(trial.uncounted or trial.unknown_trips) for trial in trials)
    program.conditionals.append(Conditional(place.path, totals, are_lower_bounds, counted))
    if to.is_body:
        outputs = tuple(_add_value(program, var.aval, place.times) for var in eqn.outvars)
        _add_branches(to, eqn, trials, place, inputs[1:], outputs, totals[counted])
        return list(outputs)
    others = [trial for trial in trials if trial is not trials[counted]]
    if others:
        _add_branches(to, eqn, others, place, inputs[1:])
    return _follow_closed(to, branches[counted], inputs[1:], place)


# The names of `jax.default_backend` and those of `jax.lax.platform_dependent`.
_LOWERING_PLATFORMS = {"gpu": ("gpu", "cuda", "rocm")}


def _add_branches(
    to: _Flattening,
    eqn: Any,
    branches: Sequence[Program],
    place: _Place,
    operands: Sequence[int | None],
    outputs: tuple[int, ...] = (),
    counts: Counts | None = None,
) -> None:
    """Adds an operation that stands for branches, and what is unknown in them; one of them will run."""
    program, number = to.program, len(to.program.operations)
    equation = Equation(eqn.primitive.name, [], [], eqn.params)
    cost = Cost("data movement", counts or Counts())
    stand_in = Operation(equation, "cond", cost, place.path, place.phase, place.times, place.devices)
    stand_in = stand_in._replace(operands=tuple(operands), outputs=outputs)
    program.operations.append(stand_in)
    for i in outputs:
        program.values[i].made_by = number
    for i in stand_in.inputs:
        _use(program, i, number)
    program.other_branches[number] = tuple(branches)
    for branch in branches:
        program.operations += [
            each._replace(times=each.times * place.times, devices=each.devices * place.devices, operands=(), outputs=())
            for each in branch.uncounted
        ]
        program.while_loops += branch.while_loops
        program.unknown_trips += branch.unknown_trips


def _follow_shard_map(to: _Flattening, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    program, values = to.program, to.program.values
    body, mesh = eqn.params["jaxpr"], eqn.params["mesh"]
    # JAX 0.10.1 and older use the other name.
    axes = eqn.params["newly_manual_axes" if "newly_manual_axes" in eqn.params else "manual_axes"]
    inside = place._replace(devices=place.devices * math.prod(mesh.shape[axis] for axis in axes))
    inner = []
    for number, var in zip(inputs, body.invars, strict=True):
        _use(program, number, None)
        inner.append(_enter(program, var.aval, inside.times * inside.devices, number))
        if number is not None:
            values[inner[-1]].parameter = values[number].parameter
    after = _follow(to, body, inner, inside)
    return [_leave(program, var.aval, place, number) for var, number in zip(eqn.outvars, after, strict=True)]


def _follow_linear_solve(to: _Flattening, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    # Only `solve` of its four functions runs.
    lengths, solve = eqn.params["const_lengths"], eqn.params["jaxprs"].solve
    start = lengths.matvec + lengths.vecmat
    right = inputs[sum(lengths) :]
    return _follow_closed(to, solve, [*inputs[start : start + lengths.solve], *right], place)


def _follow_run_state(to: _Flattening, eqn: Any, inputs: list[int | None], place: _Place) -> list[int | None]:
    # A function of references to the operands; the results are their contents after it.
    body = eqn.params["jaxpr"]
    given = iter(inputs)
    references = [
        next(given) if is_initialized else _add_value(to.program, var.aval)
        for var, is_initialized in zip(body.invars, eqn.params["is_initialized"], strict=True)
    ]
    _follow(to, body, references, place)
    for number in references:
        _use(to.program, number, None)
    return [_leave(to.program, var.aval, place, number) for var, number in zip(eqn.outvars, references, strict=True)]


_CONTROL: dict[str, Callable[[_Flattening, Any, list[int | None], _Place], list[int | None]]] = {
    "custom_linear_solve": _follow_linear_solve,
    "scan": _follow_scan,
    "while": _follow_while,
    "cond": _follow_cond,
    "shard_map": _follow_shard_map,
    "run_state": _follow_run_state,
}
