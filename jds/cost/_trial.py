"""Runs a program once, and gives it up if a loop does not end: nothing can interrupt XLA from outside."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from jds._common.name_stack import scopes_of
from jds.cost.hlo import Marked, chain_of_scopes, has_own_cost, replace_jaxprs


def try_program(marked: Marked, arrays: Sequence[Any], time_limit: float) -> None:
    """Runs a program with `while` loops once, with loops that end when the time is over.

    Args:
      marked: the program.
      arrays: its arguments.
      time_limit: seconds after which loops end. As they ask ever more rarely, they may take twice as long.

    Raises:
      ValueError: a loop did not end by itself.
    """
    if "while" not in marked.names:
        return
    clock = _Clock(time_limit)
    program = _Limited(clock).jaxpr(marked.jaxpr)
    jax.block_until_ready(jax.jit(jaxpr_as_fun(program))(*arrays))
    if clock.stopped:
        place = marked.layer(marked.chain_to(clock.stopped[0])) or "no layer"
        raise ValueError(
            f"measure_program: a `while` loop in {place} did not end within {time_limit:g} s. Arguments that have only "
            "a shape are zeros: pass arrays with which it ends, or a larger `time_limit`"
        )


class _Clock:
    """Stops loops when the time is over, which starts when the first one asks; `stopped` has their equations."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.end: float | None = None
        self.stopped: list[int] = []

    def goes_on(self, number: int) -> np.bool_:
        now = time.perf_counter()
        if self.end is None:
            self.end = now + self.limit
        if now <= self.end:
            return np.bool_(True)
        self.stopped.append(number)
        return np.bool_(False)


class _Limited:
    """Replaces the `while` loops of a program by such that a clock can stop."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        # By identity, the jaxprs that were changed, kept alive, with the results.
        self._done: dict[int, tuple[Any, Any]] = {}

    def jaxpr(self, jaxpr: Any) -> Any:
        """Returns a jaxpr, closed or not, with limited loops."""
        inner = getattr(jaxpr, "jaxpr", jaxpr)
        if inner is not jaxpr:
            return jaxpr.replace(jaxpr=self.jaxpr(inner))
        if id(jaxpr) not in self._done:
            self._done[id(jaxpr)] = jaxpr, jaxpr.replace(eqns=list(map(self._equation, jaxpr.eqns)))
        return self._done[id(jaxpr)][1]

    def _equation(self, eqn: Any) -> Any:
        # If devices stopped at different times, those that go on would wait for the others.
        if has_own_cost(eqn) or eqn.primitive.name == "shard_map":
            return eqn
        eqn = eqn.replace(params=replace_jaxprs(eqn, self.jaxpr))
        if eqn.primitive.name != "while":
            return eqn
        (number,) = chain_of_scopes(scopes_of(eqn).path)
        loop = jax.jit(lambda *operands: _loop(eqn.params, operands, lambda: self.clock.goes_on(number)))
        (call,) = jax.make_jaxpr(loop)(*(atom.aval for atom in eqn.invars)).eqns
        return call.replace(invars=eqn.invars, outvars=eqn.outvars, source_info=eqn.source_info)


def _loop(params: Any, operands: Sequence[jax.Array], goes_on: Any) -> list[jax.Array]:
    """Runs a `while` equation, which asks in iterations 1, 2, 4, 8 and so on whether it may go on."""
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    of_condition, of_body, initial = operands[: split[0]], operands[split[0] : split[1]], operands[split[1] :]

    def wants(carry: Sequence[jax.Array]) -> jax.Array:
        (found,) = jaxpr_as_fun(params["cond_jaxpr"])(*of_condition, *carry)
        return found  # of several loops at once, if `vmap` made them one

    def condition(state: Any) -> jax.Array:
        number, carry = state
        asks = jnp.any(wants(carry)) & (number & (number - 1) == 0)
        may = jax.lax.cond(asks, lambda: jax.pure_callback(goes_on, jax.ShapeDtypeStruct((), bool)), lambda: True)
        return jnp.any(wants(carry)) & may

    def body(state: Any) -> Any:
        number, carry = state
        after = jaxpr_as_fun(params["body_jaxpr"])(*of_body, *carry)
        runs = wants(carry)
        if runs.ndim:
            after = [_where(runs, new, old) for new, old in zip(after, carry, strict=True)]
        return number + 1, after

    return jax.lax.while_loop(condition, body, (jnp.uint32(1), list(initial)))[1]


def _where(runs: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(runs.reshape(runs.shape + (1,) * (new.ndim - runs.ndim)), new, old)
