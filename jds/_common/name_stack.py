"""Reads JAX's name stacks: the scopes that an equation was traced in, and the transformations around them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

# Scopes added by JAX's transformations and by its lowering.
_RECOMPUTED = "rematted_computation"
_OF_TRACING = re.compile(f"checkpoint|{_RECOMPUTED}")
_OF_LOWERING = re.compile(f"while|body|cond|branch_[0-9]+_fun|closed_call|checkpoint|{_RECOMPUTED}|remat2|shard_map")
_TRANSFORMATION = re.compile(r"(\w+)\((.*)\)")
_FUNCTIONS = ("jit", "pjit", "core_call", "custom_jvp_call", "custom_vjp_call")


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


def read_scopes(name_stack: str) -> Scopes:
    """Parses the text of an equation's name stack.

    Args:
      name_stack: a name stack as printed by JAX, such as `transpose(jvp(blocks))/0`.

    Returns:
      The scopes, without those added by transformations.

    Example:
      >>> from jds._common.name_stack import read_scopes
      >>> read_scopes("transpose(jvp(blocks))/0")
      Scopes(path=('blocks', '0'), is_backward=True)
    """
    return _scopes(_split(name_stack), _OF_TRACING)


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
    return Origin("/".join(_scopes(parts, _OF_LOWERING).path), "/".join(_unwrap(last)[1]))


def _scopes(parts: Sequence[str], added_by_jax: re.Pattern[str]) -> Scopes:
    segments: list[list[str]] = [[]]
    is_backward = False
    for part in parts:
        transformations, names = _unwrap(part)
        is_backward |= "transpose" in transformations or part == _RECOMPUTED
        if transformations:
            segments.append([])
        segments[-1] += [name for name in names if not added_by_jax.fullmatch(name)]
    path: list[str] = []
    last: list[str] = []
    for segment in segments:
        # Equations that are recomputed in the backward pass have their scopes twice.
        if segment and segment != last:
            path += segment
            last = segment
    return Scopes(tuple(path), is_backward)


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
