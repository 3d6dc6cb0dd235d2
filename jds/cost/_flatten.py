"""Flattens a jaxpr, including all jaxprs that it calls, into a `Program`."""

from collections.abc import Iterable, Sequence
from typing import Any

from jax.extend.core import Jaxpr

from jds._common.openings import Outer
from jds._common.traceable import Role
from jds.cost import _control_flow as _control_flow  # registers how to follow it
from jds.cost._following import Flattening, Place, fill, new_program
from jds.cost._program import Conventions, Program


def flatten(
    jaxpr: Jaxpr,
    roles: Sequence[Role],
    parameters: Iterable[int],
    conventions: Conventions,
    constants: Sequence[Any] = (),
    *,
    has_parameters: bool = False,
) -> Program:
    """Flattens a jaxpr and all jaxprs that it calls.

    Args:
      jaxpr: the program; its constants come before its arguments.
      roles: the role of each constant and argument.
      parameters: indices of the parameters among the constants and arguments.
      conventions: the options of `analyze`.
      constants: the program's constants.
      has_parameters: whether arrays of floating-point numbers that functions in the program close over are parameters.
    """
    program = new_program(conventions, (*jaxpr.constvars, *jaxpr.invars))
    for number, role in zip(program.inputs, roles, strict=True):
        program.values[number].role = role
    for number in parameters:
        program.values[number].parameter = number
        program.values[number].role = "parameter"
    known = {id(array): (array, number) for array, number in zip(constants, program.inputs, strict=False)}
    fill(Flattening(program, {}, known, has_parameters), jaxpr, Place())
    _complete_paths(program)
    return program


def _complete_paths(program: Program) -> None:
    outer = Outer(operation.path for operation in program.operations)
    for number, operation in enumerate(program.operations):
        whole = outer.whole(operation.path)
        if whole is not operation.path:
            program.operations[number] = operation._replace(path=whole)
