"""Says which equation of a program cannot be exported."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from jds._common.name_stack import scopes_of
from jds._common.place import place


def unsupported(equation: JaxprEqn, name: str, operands: Any, results: Any, form: str, reason: str) -> str:
    """Returns the message about an equation that has no form in a format.

    Args:
      equation: the equation of the jaxpr.
      name, operands, results: what to call it, and its operands and results: variables or arrays.
      form: the format in words.
      reason: why it has no form.
    """
    scope = scope_of(equation)
    where = place(equation, scope)
    shapes = f"{', '.join(map(_in_words, operands))} → {', '.join(map(_in_words, results))}"
    return (
        f"export: {name} ({shapes}){' in ' if where else ''}{where} cannot be written to {form}: {reason}; replace it, "
        "or leave it out of the function and compute it outside the file"
    )


def scope_of(equation: JaxprEqn) -> str:
    """Returns the path of the module that an equation belongs to."""
    return "/".join(scopes_of(equation).path)


def equations(jaxpr: Any) -> Iterator[JaxprEqn]:
    """Yields the equations of a program, those in the bodies of loops and conditionals included."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    yield from equations(inner)


def _in_words(value: Any) -> str:
    return f"{value.dtype}{[*value.shape]}" if isinstance(value, np.ndarray) else str(value.aval)
