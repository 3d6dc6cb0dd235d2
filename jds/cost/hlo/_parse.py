"""Parses the instructions of an optimized program from XLA's text."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jds.cost.rules import WindowAxis, products

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


# XLA counts one operation per element of the result.
_ELEMENTWISE_NAMES = """
    abs add and clamp compare complex convert divide floor ceil imag maximum minimum multiply negate not or real
    remainder round-nearest-afz round-nearest-even select shift-left shift-right-arithmetic shift-right-logical sign
    subtract xor is-finite popcnt count-leading-zeros reduce-precision all-reduce reduce-scatter
"""
_ELEMENTWISE = frozenset(_ELEMENTWISE_NAMES.split())


def flops(instruction: Instruction, shapes: Mapping[str, tuple[Shape, ...]]) -> int | None:
    """Returns XLA's count of the FLOPs of one instruction, without what it calls; None for foreign code.

    Args:
      instruction: the instruction.
      shapes: shapes of the other instructions of its computation.
    """
    opcode, elements = instruction.opcode, sum(shape.elements for shape in instruction.shapes)
    operands = [shapes[name][0] for name in instruction.operands if shapes.get(name)]
    if opcode in ("custom-call", "custom-fusion"):
        return None
    if opcode == "dot":
        contracted = [int(axis) for axis in instruction.attribute("lhs_contracting_dims").split(",") if axis]
        return 2 * elements * math.prod(operands[0].sizes[axis] for axis in contracted)
    if opcode == "convolution":
        return _convolution(instruction, *operands[:2])
    if opcode == "reduce":
        arrays = operands[: len(operands) // 2]
        return max(0, sum(array.elements for array in arrays) - elements)
    if opcode == "sort":
        # XLA uses the logarithm of the total number of elements, not of the length of the sorted axis.
        return instruction.shapes[0].elements * math.ceil(math.log2(max(1, instruction.shapes[0].elements)))
    if opcode == "reduce-window":
        window = math.prod(int(size) for size in _window(instruction, "size", ()))
        return elements * (window - 1)
    return elements if opcode in _ELEMENTWISE else 0


def _window(instruction: Instruction, name: str, default: Sequence[str]) -> Sequence[str]:
    found = re.search(rf"\b{name}=([\w\-]+)", instruction.attribute("window"))
    return found[1].split("x") if found else default


def _convolution(instruction: Instruction, lhs: Shape, rhs: Shape) -> int:
    (out,) = instruction.shapes
    left, right, result = re.split(r"_|->", instruction.attribute("dim_labels"))
    rank = len(left) - 2
    sizes = [int(size) for size in _window(instruction, "size", ["1"] * rank)]
    strides = [int(size) for size in _window(instruction, "stride", ["1"] * rank)]
    pads = [pad.split("_") for pad in _window(instruction, "pad", ["0_0"] * rank)]
    lhs_dilation = [int(size) for size in _window(instruction, "lhs_dilate", ["1"] * rank)]
    rhs_dilation = [int(size) for size in _window(instruction, "rhs_dilate", ["1"] * rank)]
    macs = rhs.sizes[right.index("i")] * out.sizes[result.index("b")] * out.sizes[result.index("f")]
    for axis in range(rank):
        place = str(axis)
        macs *= products(
            WindowAxis(
                lhs.sizes[left.index(place)],
                sizes[axis],
                out.sizes[result.index(place)],
                strides[axis],
                int(pads[axis][0]),
                lhs_dilation[axis],
                rhs_dilation[axis],
            ),
            padding=False,
        )
    return 2 * macs
