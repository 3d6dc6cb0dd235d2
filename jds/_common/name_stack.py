"""The layer that an instruction of an optimised program comes from, by the name that JAX gave its equation."""

import re
from typing import NamedTuple

# What JAX's own lowering and transformations add to the scopes.
_OF_JAX = re.compile("while|body|cond|branch_[0-9]+_fun|closed_call|checkpoint|rematted_computation|remat2|shard_map")
_TRANSFORMED = re.compile(r"(\w+)\((.*)\)")
_FUNCTIONS = ("jit", "pjit", "core_call", "custom_jvp_call", "custom_vjp_call")


class Origin(NamedTuple):
    """A layer's path, and the primitive."""

    layer: str
    primitive: str


def origin(op_name: str) -> Origin:
    """Reads such names as `jit(step)/transpose(jvp(blocks/0))/dot_general`.

    Example:
      >>> from jds._common.name_stack import origin
      >>> origin("jit(step)/transpose(jvp(blocks/0))/while/body/dot_general")
      Origin(layer='blocks/0', primitive='dot_general')
    """
    # Of an instruction that stands for several equations, the first.
    *segments, primitive = _split(op_name.split(";")[0])
    path: list[str] = []
    last = ""
    for segment in segments:
        if segment and segment != last:  # what is computed again has its scopes twice
            path += [name for name in segment.split("/") if not _OF_JAX.fullmatch(name)]
            last = segment
    return Origin("/".join(path), primitive)


def _split(op_name: str) -> list[str]:
    """Segments: what is inside a transformation is one, and each name outside of any is one."""
    parts: list[str] = []
    depth, start = 0, 0
    for i, letter in enumerate(op_name + "/"):
        depth += (letter == "(") - (letter == ")")
        if letter == "/" and depth == 0:
            parts.append(op_name[start:i])
            start = i + 1
    return [_unwrap(part) for part in parts]


def _unwrap(part: str) -> str:
    while found := _TRANSFORMED.fullmatch(part):
        if found[1] in _FUNCTIONS:
            return ""
        part = found[2]
    return part
