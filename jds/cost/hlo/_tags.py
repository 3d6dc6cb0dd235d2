"""Marks each equation of a program, so that every instruction of the lowered and the compiled program names its own.

JAX writes the scopes around an equation into the metadata of the instructions that it lowers the equation to, including
those of functions that it calls for this, and XLA keeps them. If the scopes are replaced by a number per equation, work
can be compared equation by equation.
"""

import dataclasses
import functools
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jds._common.name_stack import distinct, scopes_of
from jds._common.openings import Outer
from jds._common.traceable import Traceable
from jds.cost._program import ScopePath
from jds.cost.rules import find_rule

# A mark is a scope with the number of the equation.
_PREFIX = "equation_"
_MARK = re.compile(rf"(?:^|/){_PREFIX}(\d+)(?=/|$)")

# Numbers of equations, outermost first: an equation, and the equations whose jaxprs it is in.
Chain = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Marked:
    """A program whose equations are marked.

    Attributes:
      jaxpr: the program.
      lowered: the same as passed to XLA.
      names: the primitive of each equation.
      params: the parameters of each equation.
      scopes: the scopes of each equation, relative to those of the equation that calls its jaxpr.
      parents: the equations that each equation is in; None for the program itself.
    """

    jaxpr: ClosedJaxpr
    lowered: jax.stages.Lowered
    names: tuple[str, ...]
    params: tuple[Mapping[str, Any], ...]
    scopes: tuple[ScopePath, ...]
    parents: tuple[set[int | None], ...]

    @functools.cached_property
    def compiled(self) -> jax.stages.Compiled:
        """The compiled program."""
        return self.lowered.compile()

    def layer(self, chain: Chain) -> str:
        """Returns the path of the layer of the last of these equations."""
        return "/".join(self._outer.whole(self._path(chain)))

    @functools.cached_property
    def _outer(self) -> Outer:
        return Outer(self._path(self.chain_to(number)) for number in range(len(self.names)))

    def _path(self, chain: Chain) -> ScopePath:
        return distinct(scope for number in chain for scope in self.scopes[number])

    def chain_to(self, number: int) -> Chain:
        """Returns an equation and those around it; if its jaxpr is called from several places, from one of them."""
        outer = next(iter(self.parents[number]))
        return (number,) if outer is None else (*self.chain_to(outer), number)

    def chain(self, op_names: Iterable[str]) -> Chain:
        """Returns the equation that an instruction comes from, and those around it; empty if it is unknown.

        Args:
          op_names: the names of the calls around the instruction, and its own.
        """
        found: list[int] = []
        for op_name in op_names:
            # If an instruction stands for several equations, the first counts.
            for mark in _MARK.findall(op_name.split(";")[0]):
                # JAX lowers equal equations to one function, whose instructions carry the mark of the first of them:
                # only the mark of the call counts.
                if (found[-1] if found else None) in self.parents[int(mark)]:
                    found.append(int(mark))
        return tuple(found)


def has_mark(op_name: str) -> bool:
    """Whether the name of an instruction tells its equation."""
    return _MARK.search(op_name) is not None


class MarkedTrips(dict[str, int]):
    """Numbers of iterations by the path of a loop, for a program whose scopes are marks."""

    def __init__(self, trips: Mapping[str, int], marked: Marked) -> None:
        super().__init__(trips)
        self._marked = marked

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(self._marked.layer(chain_of_scopes(key.split("/"))), default)


def chain_of_scopes(path: Iterable[str]) -> Chain:
    """Returns the equations that the scopes of a marked equation stand for."""
    return tuple(int(name.removeprefix(_PREFIX)) for name in path if name.startswith(_PREFIX))


# A program that is both explained and measured is compiled once.
_marked: weakref.WeakKeyDictionary[Traceable, Marked] = weakref.WeakKeyDictionary()


def mark(program: Traceable) -> Marked:
    """Marks all equations of a program, and lowers it."""
    if program not in _marked:
        _marked[program] = _mark(program)
    return _marked[program]


def _mark(program: Traceable) -> Marked:
    marker = _Marker()
    jaxpr = marker.jaxpr(program.jaxpr, None)
    lowered = jax.jit(jaxpr_as_fun(jaxpr)).lower(*program.arrays)
    return Marked(
        jaxpr=jaxpr,
        lowered=lowered,
        names=tuple(marker.names),
        params=tuple(marker.params),
        scopes=tuple(marker.scopes),
        parents=tuple(marker.parents),
    )


class _Marker:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.params: list[Mapping[str, Any]] = []
        self.scopes: list[tuple[str, ...]] = []
        self.parents: list[set[int | None]] = []
        # By identity, the jaxprs that were marked, kept alive, with the result and the numbers of its equations.
        self._done: dict[int, tuple[Any, Any, list[int]]] = {}

    def jaxpr(self, jaxpr: Any, parent: int | None) -> Any:
        """Returns a jaxpr, closed or not, with marked equations."""
        inner = getattr(jaxpr, "jaxpr", jaxpr)
        if inner is not jaxpr:
            return jaxpr.replace(jaxpr=self.jaxpr(inner, parent))
        if id(jaxpr) not in self._done:
            numbers: list[int] = []
            equations = [self._equation(eqn, numbers) for eqn in jaxpr.eqns]
            self._done[id(jaxpr)] = jaxpr, jaxpr.replace(eqns=equations), numbers
        _, marked, numbers = self._done[id(jaxpr)]
        for number in numbers:
            self.parents[number].add(parent)
        return marked

    def _equation(self, eqn: Any, numbers: list[int]) -> Any:
        number, name = len(self.names), eqn.primitive.name
        numbers.append(number)
        self.names.append(name)
        self.params.append(eqn.params)
        self.scopes.append(scopes_of(eqn).path)
        self.parents.append(set())
        info = eqn.source_info
        scope = type(info.name_stack)().extend(f"{_PREFIX}{number}")
        params = eqn.params if has_own_cost(eqn) else replace_jaxprs(eqn, lambda jaxpr: self.jaxpr(jaxpr, number))
        return eqn.replace(source_info=info.replace(name_stack=scope), params=params)


def has_own_cost(eqn: Any) -> bool:
    """Whether an equation has a rule, so that the equations inside are not counted."""
    return find_rule(eqn.primitive.name) is not None or eqn.primitive.name == "pallas_call"


def replace_jaxprs(eqn: Any, replace: Callable[[Any], Any]) -> dict[str, Any]:
    """Returns the parameters of an equation, with each jaxpr replaced."""

    def replaced(value: Any) -> Any:
        if hasattr(getattr(value, "jaxpr", value), "eqns"):
            return replace(value)
        if not isinstance(value, tuple | list):
            return value
        items = [replaced(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    return {key: replaced(value) for key, value in eqn.params.items()}
