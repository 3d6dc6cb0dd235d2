"""Reads JAX's name stacks: the scopes that an equation was traced in, and the transformations around them."""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn

_TRANSFORMATION = re.compile(r"(\w+)\((.*)\)")
_FUNCTIONS = ("jit", "pjit", "core_call", "custom_jvp_call", "custom_vjp_call")
# The primitives of functions with their own derivative.
_REPEATING = ("custom_jvp_call", "custom_vjp_call", "call_hi_primitive")
# Set around equations that the backward pass computes again.
_RECOMPUTED = "rematted_computation"
# `jnp.einsum` names its scope after its subscripts.
_EINSUM = re.compile(r"[\w,.]*->[\w.]*")
_EQUINOX = re.compile(r"eqx\.nn\.\w+")
# Names that lowering always adds, and names that it adds after or before another one.
_OF_LOWERING = ("closed_call", "eval_jaxpr", "checkpoint", "remat2", "shard_map", _RECOMPUTED)
_OF_LOOPS = ("while/body", "while/cond")
_OF_BRANCHES = re.compile("cond/branch_[0-9]+_fun")


class Scopes(NamedTuple):
    """The scopes that an equation belongs to.

    Attributes:
      path: the scopes around it, outermost first.
      is_backward: whether it belongs to a backward pass.
    """

    path: tuple[str, ...]
    is_backward: bool


class Origin(NamedTuple):
    """The equation that an instruction of a compiled program comes from.

    Attributes:
      layer: the scopes around the equation, joined by slashes.
      primitive: its primitive's name.
    """

    layer: str
    primitive: str


class _Name(NamedTuple):
    """A scope, and the transformations around it."""

    text: str
    transformations: tuple[str, ...]

    @property
    def is_transposed(self) -> bool:
        return "transpose" in self.transformations


@functools.lru_cache(maxsize=2**14)
def read_scopes(name_stack: str, *, is_recomputation: bool = False) -> Scopes:
    """Parses the text of an equation's name stack.

    Args:
      name_stack: a name stack as printed by JAX, such as `transpose(jvp(blocks))/0`.
      is_recomputation: whether the equation computes a part of the forward pass again for the backward pass
        (`checkpoint` with `differentiated=True`). JAX writes the scopes around such an equation twice, as it does
        around some other equations of the backward pass, where it shows in the transformations.

    Returns:
      The scopes, without those added by transformations and by `jnp.einsum`.

    Example:
      >>> from jds._common.name_stack import read_scopes
      >>> read_scopes("transpose(jvp(blocks))/0")
      Scopes(path=('blocks', '0'), is_backward=True)
    """
    parts = _split(name_stack)
    names: list[_Name] = []
    for part in parts:
        if part == _RECOMPUTED:
            names = _once(names, is_certain=True)
        else:
            names += _names(part)
    names = _once(names, is_certain=is_recomputation)
    is_backward = any("transpose" in _unwrap(part)[0] or part == _RECOMPUTED for part in parts)
    return Scopes(_path(names), is_backward)


def scopes_of(equation: JaxprEqn) -> Scopes:
    """Returns the scopes of an equation of a jaxpr, relative to those of the equation that calls the jaxpr."""
    is_recomputation = equation.primitive.name in ("checkpoint", "remat2") and equation.params.get("differentiated")
    return read_scopes(str(equation.source_info.name_stack), is_recomputation=bool(is_recomputation))


def scopes_in(jaxpr: Any, caller: str = "", around: Sequence[str] = ()) -> list[Scopes]:
    """Returns the scopes of each equation of a jaxpr, relative to those of the equation that calls the jaxpr.

    Args:
      jaxpr: the jaxpr.
      caller: the primitive of the equation that calls it.
      around: the scopes of this equation. JAX 0.12 repeats them in some functions with their own derivative.
    """
    found = [scopes_of(equation) for equation in jaxpr.eqns]
    repeated = tuple(around) if caller.startswith(_REPEATING) else ()
    if any(scopes.path[: len(repeated)] != repeated for scopes in found):
        return found
    return [scopes._replace(path=scopes.path[len(repeated) :]) for scopes in found]


def origin(op_name: str) -> Origin:
    """Parses the name that JAX gave to a lowered equation: its name stack and its primitive.

    Args:
      op_name: the name as printed by XLA, such as `jit(step)/transpose(jvp(blocks/0))/while/body/dot_general`.

    Returns:
      The layer, without the names that lowering adds for loops, branches and calls, and the primitive.

    Example:
      >>> from jds._common.name_stack import origin
      >>> origin("jit(step)/transpose(jvp(blocks/0))/while/body/dot_general")
      Origin(layer='blocks/0', primitive='dot_general')
    """
    # If an instruction stands for several equations, use the first.
    *parts, last = _split(op_name.split(";")[0])
    return Origin("/".join(_path(_without_lowering(parts))), "/".join(_unwrap(last)[1]))


def _without_lowering(parts: Sequence[str]) -> list[_Name]:
    """Returns the names of a lowered equation, without those that lowering adds."""
    is_backward = any("transpose" in _unwrap(part)[0] for part in parts)
    found: list[_Name] = []
    run: list[_Name] = []  # the names since the last one that lowering added, or the last function
    for part, is_added in zip(parts, _added(parts), strict=True):
        if is_added or part.startswith(("jit(", "pjit(")):
            is_recomputation = is_backward and part in ("checkpoint", _RECOMPUTED)
            found += _once(run, is_certain=is_recomputation)
            run = []
        else:
            run += _names(part)
    return found + _once(run, is_certain=False)


def _added(parts: Sequence[str]) -> Iterator[bool]:
    """Yields, for each part of a lowered equation's name, whether lowering added it."""
    for before, part, after in zip(("", *parts), parts, (*parts[1:], ""), strict=False):
        pairs = f"{before}/{part}", f"{part}/{after}"
        yield part in _OF_LOWERING or any(pair in _OF_LOOPS or _OF_BRANCHES.fullmatch(pair) for pair in pairs)


def _once(names: list[_Name], *, is_certain: bool) -> list[_Name]:
    """Returns names once that JAX writes twice: transposed, and as in the forward pass.

    Args:
      names: the names.
      is_certain: whether names that are there twice are so for this reason, even if they do not show it.
    """
    half = _half(names)
    if half is None:
        return names
    rest = names[len(half) :]
    shows_it = any(name.is_transposed for name in half) and any("jvp" in name.transformations for name in rest)
    if not is_certain and (not shows_it or any(name.is_transposed for name in rest)):
        return names
    # A recomputation that was differentiated again has them four times.
    while (quarter := _half(half)) and any(name.is_transposed for name in quarter):
        if any(name.is_transposed for name in half[len(quarter) :]):
            break
        half = quarter
    return half


def _half(names: list[_Name]) -> list[_Name] | None:
    middle = len(names) // 2
    first, second = names[:middle], names[middle:]
    is_twice = [name.text for name in first] == [name.text for name in second]
    return first if first and is_twice else None


def _path(names: Iterable[_Name]) -> tuple[str, ...]:
    path = tuple(name.text for name in names)
    # Equinox names its layers' scopes after their classes, which says nothing where they have a path.
    with_path = tuple(name for name in path if not _EQUINOX.fullmatch(name))
    return with_path or path


def _names(part: str) -> list[_Name]:
    transformations, names = _unwrap(part)
    return [_Name(name, tuple(transformations)) for name in names if not _EINSUM.fullmatch(name)]


def _split(name_stack: str) -> list[str]:
    """Splits at the slashes outside all parentheses."""
    parts: list[str] = []
    depth, start = 0, 0
    for i, letter in enumerate(name_stack + "/"):
        depth += (letter == "(") - (letter == ")")
        if letter == "/" and depth == 0:
            parts.append(name_stack[start:i])
            start = i + 1
    return parts


def _unwrap(part: str) -> tuple[list[str], list[str]]:
    """Returns the transformations around scopes, and the scopes, which exclude names of jitted functions."""
    transformations: list[str] = []
    while found := _TRANSFORMATION.fullmatch(part):
        transformations.append(found[1])
        part = "" if found[1] in _FUNCTIONS else found[2]
    return transformations, [name for name in part.split("/") if name]
