"""Flattens a jaxpr, including all jaxprs that it calls, into a `Program`."""

from collections.abc import Iterable, Sequence

from jax.extend.core import Jaxpr

from jds._common.traceable import Role
from jds.cost import _control_flow as _control_flow  # registers how to follow it
from jds.cost._following import Flattening, Place, fill, new_program
from jds.cost._program import Conventions, Program


def flatten(
    jaxpr: Jaxpr,
    roles: Sequence[Role],
    parameters: Iterable[int],
    conventions: Conventions,
    *,
    constants_are_parameters: bool = False,
) -> Program:
    """Flattens a jaxpr and all jaxprs that it calls.

    Args:
      jaxpr: the program; its constants come before its arguments.
      roles: the role of each constant and argument.
      parameters: indices of the parameters among the constants and arguments.
      conventions: the options of `analyze`.
      constants_are_parameters: whether the floating-point constants of inner functions are, too.
    """
    program = new_program(conventions, (*jaxpr.constvars, *jaxpr.invars))
    for number, role in zip(program.inputs, roles, strict=True):
        program.values[number].role = role
    for number in parameters:
        program.values[number].parameter = number
        program.values[number].role = "parameter"
    fill(Flattening(program, {}, {}, constants_are_parameters), jaxpr, Place())
    return program
