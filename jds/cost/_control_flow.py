"""Follows loops, branches and other equations that decide what runs, how often, and where."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jds.cost._counts import Counts
from jds.cost._following import (
    CONTROL,
    Flattening,
    FollowEquation,
    Place,
    add_value,
    constants_of,
    flattened,
    follow,
    follow_closed,
    use,
)
from jds.cost._program import Branches, Carry, Conditional, Loop, Operation, Program, ScopePath
from jds.cost.rules import Cost, Equation


def _registered(primitive: str) -> Callable[[FollowEquation], FollowEquation]:
    def register(follow_equation: FollowEquation) -> FollowEquation:
        CONTROL[primitive] = follow_equation
        return follow_equation

    return register


@_registered("scan")
def _follow_scan(to: Flattening, eqn: Any, inputs: list[int | None], place: Place) -> list[int | None]:
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
            use(program, outer, None)
    closed = constants_of(to, eqn.params["jaxpr"])
    start, before_loop = len(program.operations), len(program.loops)
    after = follow(to, body, [*closed, *inputs[:constants], *entering], inside)
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
    return add_value(program, aval, copies, source=outer)


def _leave(program: Program, aval: Any, place: Place, inner: int | None) -> int:
    """Adds the value that an array has after a loop."""
    use(program, inner, None)
    return add_value(program, aval, place.times * place.devices, source=inner)


@_registered("while")
def _follow_while(to: Flattening, eqn: Any, inputs: list[int | None], place: Place) -> list[int | None]:
    program, params = to.program, eqn.params
    trips = _trips(program.conventions.trip_counts, place.path)
    program.while_loops.append(place.path)
    if trips is None:
        program.unknown_trips.append(place.path)
    counted = 1 if trips is None else trips
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    of_condition, of_body, carried = inputs[: split[0]], inputs[split[0] : split[1]], inputs[split[1] :]
    for number in carried:
        use(program, number, None)
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
        after = follow_closed(to, body, [*constants, *entered[-1]], inside)
        if body is params["cond_jaxpr"]:
            use(program, after[0], None)
    results = [_leave(program, var.aval, place, inner) for var, inner in zip(eqn.outvars, after, strict=True)]
    carries = map(Carry, carried, zip(*entered, strict=True), after, results)
    inner = _take_loops(program, before_loop)
    program.loops.append(Loop(start, len(program.operations), trips, tuple(carries), inner=inner))
    return list(results)


def _trips(trip_counts: int | Mapping[str, int] | None, path: ScopePath) -> int | None:
    return trip_counts.get("/".join(path)) if isinstance(trip_counts, Mapping) else trip_counts


@_registered("cond")
def _follow_cond(to: Flattening, eqn: Any, inputs: list[int | None], place: Place) -> list[int | None]:
    program = to.program
    use(program, inputs[0], None)
    branches = eqn.params["branches"]
    platforms = eqn.params.get("branches_platforms")
    if platforms is not None:
        branch = _branch_here(platforms, program.conventions.platform, place)
        return follow_closed(to, branches[branch], inputs[1:], place)
    trials = [flattened(to, branch, place) for branch in branches]
    totals = tuple(trial.counts for trial in trials)
    counted = max(range(len(totals)), key=lambda i: (sum(totals[i][2:]), totals[i]))
    are_lower_bounds = tuple(bool(trial.uncounted or trial.unknown_trips) for trial in trials)
    program.conditionals.append(Conditional(place.path, totals, are_lower_bounds, counted))
    if to.is_body:
        outputs = tuple(add_value(program, var.aval, place.times) for var in eqn.outvars)
        _add_branches(to, eqn, trials, place, inputs[1:], outputs, totals[counted])
        return list(outputs)
    others = [trial for trial in trials if trial is not trials[counted]]
    number = len(program.operations)
    if others:
        _add_branches(to, eqn, others, place, inputs[1:])
    results = follow_closed(to, branches[counted], inputs[1:], place)
    if others:
        copies = _copies(program, branches, inputs[1:], results)
        results = [copies.get(i, result) for i, result in enumerate(results)]
        program.other_branches[number] = Branches(
            tuple(others), len(program.operations), tuple(copies.values()), trials[counted], tuple(results)
        )
    return results


def _copies(
    program: Program, branches: Sequence[Any], operands: Sequence[int | None], results: Sequence[int | None]
) -> dict[int, int]:
    """Returns values of their own for the results, by place, that are operands in the counted branch only."""
    found = {}
    for i, result in enumerate(results):
        places = {_place_of_operand(branch.jaxpr, i) for branch in branches}
        if result is None or result not in operands or (len(places) == 1 and None not in places):
            continue
        outer = program.values[result]
        use(program, result, None)
        found[i] = add_value(program, outer, outer.times, source=result)
        program.values[found[i]].parameter = outer.parameter
    return found


def _place_of_operand(branch: Any, place: int) -> int | None:
    """Returns the place of the operand that a branch returns at a place; None if it returns something else."""
    return next((i for i, var in enumerate(branch.invars) if var is branch.outvars[place]), None)


def _branch_here(platforms: Sequence[Sequence[str] | None], platform: str, place: Place) -> int:
    """Returns the branch of a platform; None stands for the platforms of the default."""
    wanted = _LOWERING_PLATFORMS.get(platform, (platform,))
    for i, names in enumerate(platforms):
        if names is None or any(name in wanted for name in names):
            return i
    known = ", ".join(name for names in platforms for name in names or ())
    where = f" in {'/'.join(place.path)}" if place.path else ""
    raise ValueError(
        f"analyze: `jax.lax.platform_dependent`{where} has branches for {known}, and no default, got platform "
        f"{platform!r}: pass `platform`, or give it a `default`"
    )


# The names of `jax.default_backend` and those of `jax.lax.platform_dependent`.
_LOWERING_PLATFORMS = {"gpu": ("gpu", "cuda", "rocm")}


def _add_branches(
    to: Flattening,
    eqn: Any,
    branches: Sequence[Program],
    place: Place,
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
        use(program, i, number)
    program.other_branches[number] = Branches(tuple(branches), number + 1)
    for branch in branches:
        program.operations += [
            each._replace(times=each.times * place.times, devices=each.devices * place.devices, operands=(), outputs=())
            for each in branch.uncounted
        ]
        program.while_loops += branch.while_loops
        program.unknown_trips += branch.unknown_trips


@_registered("shard_map")
def _follow_shard_map(to: Flattening, eqn: Any, inputs: list[int | None], place: Place) -> list[int | None]:
    program, values = to.program, to.program.values
    body, mesh = eqn.params["jaxpr"], eqn.params["mesh"]
    # JAX 0.10.1 and older use the other name.
    axes = eqn.params["newly_manual_axes" if "newly_manual_axes" in eqn.params else "manual_axes"]
    inside = place._replace(devices=place.devices * math.prod(mesh.shape[axis] for axis in axes))
    inner = []
    for number, var in zip(inputs, body.invars, strict=True):
        use(program, number, None)
        inner.append(_enter(program, var.aval, inside.times * inside.devices, number))
        if number is not None:
            program.shards.setdefault(number, []).append(inner[-1])
            values[inner[-1]].parameter = values[number].parameter
    after = follow(to, body, inner, inside)
    return [_leave(program, var.aval, place, number) for var, number in zip(eqn.outvars, after, strict=True)]


@_registered("custom_linear_solve")
def _follow_linear_solve(to: Flattening, eqn: Any, inputs: list[int | None], place: Place) -> list[int | None]:
    # Only `solve` of its four functions runs.
    lengths, solve = eqn.params["const_lengths"], eqn.params["jaxprs"].solve
    start = lengths.matvec + lengths.vecmat
    right = inputs[sum(lengths) :]
    return follow_closed(to, solve, [*inputs[start : start + lengths.solve], *right], place)


@_registered("run_state")
def _follow_run_state(to: Flattening, eqn: Any, inputs: list[int | None], place: Place) -> list[int | None]:
    # A function of references to the operands; the results are their contents after it.
    body = eqn.params["jaxpr"]
    given = iter(inputs)
    references = [
        next(given) if is_initialized else add_value(to.program, var.aval)
        for var, is_initialized in zip(body.invars, eqn.params["is_initialized"], strict=True)
    ]
    follow(to, body, references, place)
    for number in references:
        use(to.program, number, None)
    return [_leave(to.program, var.aval, place, number) for var, number in zip(eqn.outvars, references, strict=True)]
