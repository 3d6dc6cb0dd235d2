"""Parses the instructions of an optimized program from XLA's text."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# The opcodes of matrix products and convolutions, which may replace each other.
PRODUCTS = ("dot", "convolution")

_BITS = {"pred": 8, "s4": 4, "u4": 4, "c64": 64, "c128": 128}
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.+)")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) (?:.*)?\{$")
_CALLS = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Shape(NamedTuple):
    """The dtype and sizes of an array; a tuple has several."""

    dtype: str
    sizes: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.sizes)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        digits = re.search(r"\d+", self.dtype)
        bits = _BITS.get(self.dtype, int(digits[0]) if digits else 0)
        return (self.elements * bits + 7) // 8


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
      name, opcode: as printed by XLA.
      shapes: shapes of the result; several if it is a tuple.
      operands: names of other instructions of the computation.
      attributes: the text after the operands.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    attributes: str

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the computations that it calls."""
        branches = _BRANCHES.search(self.attributes)
        listed = [name.strip().lstrip("%") for name in branches[1].split(",")] if branches else []
        return (*_CALLS.findall(self.attributes), *listed)

    @property
    def trips(self) -> int | None:
        """Trip count of a loop, if XLA knows it."""
        known = _TRIPS.search(self.attributes)
        return int(known[1]) if known else None

    @property
    def op_name(self) -> str:
        """JAX's name of the source equation, with its scopes; empty if it is missing."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    def attribute(self, name: str) -> str:
        """Returns the text of an attribute, without its braces; empty if it is missing."""
        found = re.search(rf"\b{name}=(?:\{{([^}}]*)\}}|([^\s,]+))", self.attributes)
        return (found[1] if found[1] is not None else found[2]) if found else ""


class Module(NamedTuple):
    """A parsed program.

    Attributes:
      computations: computations by name.
      entry: name of the entry computation.
      partitions: number of devices that the program is partitioned across.
    """

    computations: Mapping[str, Sequence[Instruction]]
    entry: str
    partitions: int


_MARKERS = ("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape")


def is_marker(target: str) -> bool:
    """Whether the target of a foreign call does no work, but marks how arrays are sharded across devices."""
    return target in _MARKERS or target.startswith("xla.sdy.")


def parse(text: str) -> Module:
    """Parses the result of `jax.stages.Compiled.as_text`.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if not line.startswith(" "):
            header = _COMPUTATION.match(line)
            current = computations.setdefault(header[2], []) if header and not line.startswith("HloModule") else None
            if current is not None and header and header[1]:
                entry = header[2]
        elif current is not None and (found := _INSTRUCTION.match(line)):
            current.append(_instruction(found[1], found[2]))
    if not entry:
        raise ValueError("hlo: the text has no ENTRY computation")
    partitions = re.search(r"^HloModule .*\bnum_partitions=(\d+)", text)
    return Module(computations, entry, int(partitions[1]) if partitions else 1)


def _instruction(name: str, text: str) -> Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shapes = tuple(
        Shape(dtype, tuple(int(size) for size in sizes.split(",") if size))
        for dtype, sizes in _SHAPE.findall(text[:end])
    )
    opcode, rest = text[end:].strip().split("(", 1)
    closing = _closing("(" + rest, 0)
    operands = re.findall(r"(?:^|, )(?:/\*.*?\*/)?%?([A-Za-z_][\w.\-]*)", rest[: closing - 1])
    return Instruction(name, opcode, shapes, tuple(operands), rest[closing:])


def _closing(text: str, start: int) -> int:
    """Returns the position of the parenthesis that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    return len(text) - 1
