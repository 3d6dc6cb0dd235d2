"""XLA's own count of FLOPs, instruction by instruction, as in `HloCostAnalysis`."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jds.cost.hlo._parse import Instruction, Module, Shape
from jds.cost.rules import WindowAxis, products

# XLA counts one operation per element of the result.
_ELEMENTWISE_NAMES = """
    abs add and bitcast-convert ceil clamp compare complex convert count-leading-zeros divide floor imag is-finite
    maximum minimum multiply negate not or popcnt real reduce-precision remainder round-nearest-afz round-nearest-even
    select shift-left shift-right-arithmetic shift-right-logical sign stochastic-convert subtract xor
    all-reduce all-reduce-start
"""
FOREIGN = ("custom-call", "custom-fusion")
# Calls of computations, whose instructions are counted.
_CALLS = ("call", "fusion", "async-start")


class Work(NamedTuple):
    """An instruction that calls no other instructions.

    Attributes:
      opcode: its opcode, followed by the target of a foreign call.
      flops: XLA's count; None for foreign code.
      op_names: JAX's names for the calls around it, and for itself; empty strings if there are none.
      depth: number of loops around it.
    """

    opcode: str
    flops: int | None
    op_names: tuple[str, ...]
    depth: int


# Chooses a branch of a conditional among those that XLA counts equally.
Choose = Callable[[Sequence[list[Work]]], list[Work]]


def work(
    module: Module,
    choose: Choose = lambda branches: branches[0],
    name: str = "",
    depth: int = 0,
    around: tuple[str, ...] = (),
    root: str = "",
) -> Iterator[Work]:
    """Yields all instructions that XLA counts: of loops, one iteration, and of conditionals, one branch.

    Args:
      module: the program.
      choose: chooses a branch among those that XLA counts equally.
      name: the computation; the whole program by default.
      depth: number of loops around it.
      around: the names of the calls around it.
      root: the name of its last instruction, if it has none of its own.
    """
    computation = module.computations[name or module.entry]
    shapes = {instruction.name: instruction.shapes for instruction in computation}
    names = _names(computation, root)
    for instruction in computation:
        opcode, op_name = instruction.opcode, names[instruction.name]
        # The instructions of a function have names relative to its call; those of a fusion have their own.
        outside = (*around, op_name) if opcode == "call" else around
        if opcode == "conditional":
            branches = [list(work(module, choose, called, depth, outside)) for called in instruction.called]
            totals = [sum(-1 if each.flops is None else each.flops for each in branch) for branch in branches]
            best = [branch for branch, total in zip(branches, totals, strict=True) if total == max(totals)]
            yield from choose(best)
        elif opcode in (*_CALLS, "while"):
            for called in instruction.called:
                inner = op_name if opcode == "fusion" else ""
                yield from work(module, choose, called, depth + (opcode == "while"), outside, inner)
        else:
            target = instruction.attribute("custom_call_target").strip('"')
            kind = f"{opcode}:{target}" if target else opcode
            yield Work(kind, flops(module, instruction, shapes), (*around, op_name), depth)


def _names(computation: Sequence[Instruction], root: str) -> dict[str, str]:
    """Returns JAX's name for each instruction; one without a name gets what the names of its users have in common."""
    users: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for instruction in reversed(computation):
        used = users.get(instruction.name)
        names[instruction.name] = instruction.op_name or (_common(used) if used else root)
        for operand in instruction.operands:
            users.setdefault(operand, []).append(names[instruction.name])
    return names


def _common(names: Sequence[str]) -> str:
    """Returns the scopes that names start with in common."""
    if len(set(names)) == 1:
        return names[0]
    parts = zip(*(name.split("/") for name in names), strict=False)
    return "/".join(part[0] for part in itertools.takewhile(lambda part: len(set(part)) == 1, parts))


class _Operands(NamedTuple):
    """What a rule may look at: an instruction, the shapes of its operands, and the cost of a function that it calls."""

    instruction: Instruction
    shapes: Sequence[Shape]
    of_function: Callable[[str], int]

    @property
    def result(self) -> Shape:
        return self.instruction.shapes[0]


def flops(module: Module, instruction: Instruction, shapes: Mapping[str, tuple[Shape, ...]]) -> int | None:
    """Returns XLA's count of the FLOPs of one instruction, without what it calls; None for foreign code.

    Args:
      module: the program.
      instruction: the instruction.
      shapes: shapes of the other instructions of its computation.
    """
    opcode = instruction.opcode
    if opcode in FOREIGN:
        return None
    if opcode in _ELEMENTWISE:
        return sum(shape.elements for shape in instruction.shapes)
    rule = _RULES.get(opcode)
    if rule is None:
        return 0
    known = [shapes[name][0] for name in instruction.operands if shapes.get(name)]
    return rule(_Operands(instruction, known, lambda name: _of_computation(module, instruction.attribute(name))))


def _of_computation(module: Module, name: str) -> int:
    return sum(-1 if each.flops is None else each.flops for each in work(module, name=name.lstrip("%")))


def _dot(of: _Operands) -> int:
    contracted = [int(axis) for axis in of.instruction.attribute("lhs_contracting_dims").split(",") if axis]
    return 2 * of.result.elements * math.prod(of.shapes[0].sizes[axis] for axis in contracted)


def _reduce(of: _Operands) -> int:
    return of.of_function("to_apply") * (of.shapes[0].elements - of.result.elements)


def _reduce_window(of: _Operands) -> int:
    elements, sizes = of.result.elements, [int(size) for size in _window(of.instruction, "size", ())]
    pads = [tuple(map(int, pad.split("_"))) for pad in _window(of.instruction, "pad", ["0_0"] * len(sizes))]
    count = (math.prod(sizes) - 1) * elements
    wide = [axis for axis, size in enumerate(sizes) if size != 1]
    padded = [axis for axis, pad in enumerate(pads) if any(pad)]
    if len(wide) == len(padded) == len(of.instruction.shapes) == 1 and wide == padded:
        # A reduction whose result is broadcast to the whole axis; XLA's formula for it is this one.
        (axis,), length = wide, of.result.sizes[wide[0]]
        low, high = pads[axis]
        if low == high == length - 1 and sizes[axis] == 2 * low + 1:
            count = elements // length + length - 1
    return of.of_function("to_apply") * count


def _select_and_scatter(of: _Operands) -> int:
    window = math.prod(int(size) for size in _window(of.instruction, "size", ()))
    source = of.shapes[1].elements
    return source * (window - 1) * of.of_function("select") + source * of.of_function("scatter")


def _scatter(of: _Operands) -> int:
    # As many operands as updates, and the indices between them.
    updates = of.shapes[len(of.shapes) // 2 + 1]
    return of.of_function("to_apply") * updates.elements


def _map(of: _Operands) -> int:
    return of.of_function("to_apply") * of.result.elements


def _sort(of: _Operands) -> int:
    # The logarithm of the total number of elements, not of the length of the sorted axis.
    elements = of.shapes[0].elements
    return elements * max(0, elements - 1).bit_length()


def _fft(of: _Operands) -> int:
    # 4 multiply-adds for each element of the operand, times the product, not the sum, of the lengths' logarithms.
    lengths = [int(length) for length in of.instruction.attribute("fft_length").split(",") if length]
    return 8 * of.shapes[0].elements * math.prod(max(0, length.bit_length() - 1) for length in lengths)


def _cholesky(of: _Operands) -> int:
    return of.shapes[0].sizes[-1] * of.shapes[0].elements // 3


def _triangular_solve(of: _Operands) -> int:
    return 2 * of.shapes[0].sizes[-1] * of.shapes[1].elements


def _window(instruction: Instruction, name: str, default: Sequence[str]) -> Sequence[str]:
    found = re.search(rf"\b{name}=([\w\-]+)", instruction.attribute("window"))
    return found[1].split("x") if found else default


def _convolution(of: _Operands) -> int:
    instruction, out, (lhs, rhs) = of.instruction, of.result, of.shapes[:2]
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


_ELEMENTWISE = frozenset(_ELEMENTWISE_NAMES.split())
_RULES: dict[str, Callable[[_Operands], int]] = {
    "cholesky": _cholesky,
    "convolution": _convolution,
    "dot": _dot,
    "fft": _fft,
    "map": _map,
    "reduce": _reduce,
    "reduce-window": _reduce_window,
    "scatter": _scatter,
    "select-and-scatter": _select_and_scatter,
    "sort": _sort,
    "triangular-solve": _triangular_solve,
}
