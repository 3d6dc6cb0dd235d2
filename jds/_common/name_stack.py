"""Reads JAX's name stacks: the scopes that an equation was traced in, and the transformations around them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from jax.extend.core import JaxprEqn
from jax.extend.source_info_util import NameStack

from jds._common.openings import Opening, Part

# The type of the elements of a name stack that stand for transformations.
_Transformation = type(NameStack().transform("").stack[0])
_TRANSFORMATION = re.compile(r"(\w+)\((.*)\)")
_FUNCTIONS = ("jit", "pjit", "core_call", "custom_jvp_call", "custom_vjp_call")
# Set around equations that the backward pass computes again.
_RECOMPUTED = "rematted_computation"
# `jnp.einsum` names its scope after its subscripts, as it got them.
_EINSUM = re.compile(r"[\w,.]*->[\w.]*")
_EQUINOX = re.compile(r"eqx\.nn\.\w+|checkpointed-(no-vjp|fwd|bwd)")
# Names that lowering always adds, and names that it adds after or before another one.
_OF_LOWERING = ("closed_call", "eval_jaxpr", "checkpoint", "remat2", "shard_map", _RECOMPUTED)
_OF_LOOPS = ("while/body", "while/cond")
_OF_BRANCHES = re.compile("cond/branch_[0-9]+_fun")


class Scopes(NamedTuple):
    """The scopes that an equation belongs to.

    Attributes:
      path: the scopes around it, outermost first.
      is_backward: whether it belongs to a backward pass.
      is_recomputed: whether it computes a part of the forward pass again for the backward pass.
    """

    path: tuple[str, ...]
    is_backward: bool
    is_recomputed: bool = False


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


def scopes_of(equation: JaxprEqn) -> Scopes:
    """Returns the scopes of an equation of a jaxpr, relative to those of the equation that calls the jaxpr.

    The scopes that JAX opens are left out, and those that it lists twice are there once.
    """
    names: list[_Name] = []
    transformations: list[str] = []
    is_backward = is_recomputed = False
    for element in equation.source_info.name_stack.stack:
        if isinstance(element, _Transformation):
            transformations.append(element.name)
            is_backward = is_backward or element.name == "transpose"
        elif _is_of_jax(element.name):
            is_recomputed = is_recomputed or element.name == _RECOMPUTED
        else:
            names += [_Name(part, tuple(transformations)) for part in _parts(element.name)]
            transformations = []
    if not any(isinstance(name.text, Part) for name in names):
        is_recomputation = equation.primitive.name in ("checkpoint", "remat2") and equation.params.get("differentiated")
        names = _once(names, is_certain=bool(is_recomputation))
    return Scopes(distinct(_path(names)), is_backward or is_recomputed, is_recomputed)


def distinct(path: Iterable[str]) -> tuple[str, ...]:
    """Returns the names on a path, each opening of a scope once."""
    found: dict[int, str] = {}
    for place, name in enumerate(path):
        found.setdefault(id(name) if isinstance(name, Part) else -place, name)
    return tuple(found.values())


def _parts(name: str) -> Iterable[str]:
    return name.parts if isinstance(name, Opening) else filter(None, name.split("/"))


def _is_of_jax(name: str) -> bool:
    """Returns whether JAX opened a scope. If the program was traced elsewhere, its name has to tell."""
    return name.is_of_jax if isinstance(name, Opening) else name == _RECOMPUTED or bool(_EINSUM.fullmatch(name))


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
    # Equinox names scopes after its classes and loops, which says nothing where they have a path.
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
