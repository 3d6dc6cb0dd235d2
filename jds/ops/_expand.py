"""Expands a jaxpr to JAX's own primitives, for tools that read jaxprs."""

from collections.abc import Mapping
from typing import Any

from jax.extend.core import ClosedJaxpr, DropVar, Jaxpr, JaxprEqn, Literal, Var
from jax.extend.source_info_util import summarize

Atom = Var | Literal

# The parameter that holds the equations of a call, by the name of its primitive.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "fused_conv": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}


def expand_jaxpr(jaxpr: ClosedJaxpr) -> ClosedJaxpr:
    """Expands a jaxpr to JAX's own primitives: without jds's fused blocks, and without calls.

    A block of convolutions with epilogues is one equation of a primitive of jds's own, `fused_conv`, which tools that
    read jaxprs do not know. Here it becomes its convolutions and epilogues. Calls, of `jit`, `custom_jvp`,
    `custom_vjp` and `checkpoint`, become the equations of the functions called. Loops and conditionals stay; their
    bodies are expanded in the same way.

    Args:
      jaxpr: a jaxpr, as from `jax.make_jaxpr`.

    Returns:
      A jaxpr that computes the same values. Custom derivative rules are lost, so it should not be differentiated.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> x, kernel, bias = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4)), jnp.ones(4)
      >>> jaxpr = jax.make_jaxpr(lambda x: jds.depthwise_conv(x, kernel, bias=bias, activation=jax.nn.relu))(x)
      >>> [equation.primitive.name for equation in jaxpr.eqns]
      ['fused_conv']
      >>> [equation.primitive.name for equation in jds.expand_jaxpr(jaxpr).eqns]
      ['conv_general_dilated', 'reshape', 'add', 'max']
    """
    expansion = _Expansion()
    names = expansion.constants(jaxpr)
    expansion.add(jaxpr.jaxpr, names, None)
    outvars = [_renamed(atom, names) for atom in jaxpr.jaxpr.outvars]
    inner = jaxpr.jaxpr.replace(constvars=expansion.constvars, outvars=outvars, eqns=expansion.equations)
    return ClosedJaxpr(inner, expansion.consts)


class _Expansion:
    """The equations of the expanded jaxpr so far, and its constants."""

    def __init__(self):
        self.equations: list[JaxprEqn] = []
        self.constvars: list[Var] = []
        self.consts: list[Any] = []

    def constants(self, jaxpr: Any) -> dict[Var, Atom]:
        """Adds the constants of a jaxpr; returns their variables here."""
        values = getattr(jaxpr, "consts", ())
        old = getattr(jaxpr, "jaxpr", jaxpr).constvars
        new = [Var(var.aval) for var in old]
        self.constvars += new
        self.consts += values
        return dict(zip(old, new, strict=True))

    def add(self, jaxpr: Jaxpr, names: dict[Var, Atom], call_source: Any) -> None:
        """Adds the equations of a jaxpr whose inputs have these names here; `names` gets those of all its variables.

        Args:
          call_source: where the jaxpr is called, or None.
        """
        for equation in jaxpr.eqns:
            inputs = [_renamed(atom, names) for atom in equation.invars]
            source = equation.source_info
            if call_source is not None:
                source = source.replace(name_stack=call_source.name_stack + source.name_stack)
                # Functions of JAX itself keep no lines of the user's program.
                source = source if summarize(source) else source.replace(traceback=call_source.traceback)
            call = equation.params.get(_CALLS.get(equation.primitive.name, ""))
            if call is None:
                outputs = [var if isinstance(var, DropVar) else Var(var.aval) for var in equation.outvars]
                params = {key: _expanded(value) for key, value in equation.params.items()}
                self.equations.append(
                    equation.replace(invars=inputs, outvars=outputs, params=params, source_info=source)
                )
            else:
                inner = getattr(call, "jaxpr", call)
                inner_names = self.constants(call) | dict(zip(inner.invars, inputs, strict=True))
                self.add(inner, inner_names, source)
                outputs = [_renamed(atom, inner_names) for atom in inner.outvars]
            names.update(zip(equation.outvars, outputs, strict=True))


def _renamed(atom: Atom, names: Mapping[Var, Atom]) -> Atom:
    return atom if isinstance(atom, Literal) else names.get(atom, atom)


def _expanded(param: Any) -> Any:
    """Expands the jaxprs in a parameter of a loop or conditional."""
    if isinstance(param, ClosedJaxpr):
        return expand_jaxpr(param)
    return type(param)(map(_expanded, param)) if type(param) in (tuple, list) else param
