"""The work of each equation of a program: in theory, as lowered, and as compiled."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import jax.numpy as jnp
from jax import ShapeDtypeStruct

from jds.cost._analysis import Analysis
from jds.cost._counts import Counts
from jds.cost._program import Operation
from jds.cost.hlo import _parse
from jds.cost.hlo._flops import Work, work
from jds.cost.hlo._origins import program_of
from jds.cost.hlo._tags import Chain, Marked
from jds.cost.rules import find_rule


class Part(NamedTuple):
    """An operation in theory, or an instruction, as a part of an equation's work.

    Attributes:
      counted, skipped: the operation, with and without the products with padding.
      chain: the numbers of the equations that it belongs to, outermost first.
      copies: number of times that loops that JAX unrolls repeat it in the lowered program; 0 if it is in none.
    """

    counted: Operation
    skipped: Operation
    chain: Chain
    copies: int

    @property
    def whole(self) -> Counts:
        """All of its work."""
        return self.counted.counts

    @property
    def without_padding(self) -> Counts:
        """The same, without products with padding, which XLA does not count, unlike the padding of other windows."""
        return self._convention.counts

    @property
    def once(self) -> Counts:
        """Its work in one iteration on one device, without products with padding."""
        cost = self._convention.cost
        return cost.counts * self.copies if cost else Counts()

    @property
    def once_if_real(self) -> int:
        """FLOPs of `once` if each operation on complex numbers counted like one on real numbers."""
        equation, rule = self._convention.equation, find_rule(self.counted.name)
        real = rule and rule(equation._replace(inputs=_real(equation.inputs), outputs=_real(equation.outputs)))
        return real.counts.flops * self.copies if real else self.once.flops

    @property
    def is_complex(self) -> bool:
        """Whether its results are, or are computed from, complex numbers."""
        equation = self.counted.equation
        return any(map(_is_complex, (*equation.inputs, *equation.outputs)))

    @property
    def _convention(self) -> Operation:
        has_products = self.counted.cost is not None and bool(self.counted.cost.counts.multiplications)
        return self.skipped if has_products else self.counted


def _is_complex(aval) -> bool:
    return jnp.issubdtype(getattr(aval, "dtype", bool), jnp.complexfloating)


def _real(avals: Sequence) -> list:
    return [ShapeDtypeStruct(aval.shape, jnp.float32) if _is_complex(aval) else aval for aval in avals]


@dataclasses.dataclass
class EquationWork:
    """What an equation is in theory and in XLA's programs.

    Attributes:
      name: its primitive.
      parts: its operations in theory.
      lowered, compiled: its instructions.
    """

    name: str
    parts: list[Part] = dataclasses.field(default_factory=list)
    lowered: list[Work] = dataclasses.field(default_factory=list)
    compiled: list[Work] = dataclasses.field(default_factory=list)

    @property
    def layer(self) -> str:
        """The layer of its first operation."""
        return "/".join(self.parts[0].counted.path) if self.parts else ""

    @property
    def theory(self) -> Counts:
        """Its work in theory, in one iteration, on one device and without products with padding."""
        return sum((part.once for part in self.parts), Counts())

    @property
    def whole(self) -> Counts:
        """All of its work in theory."""
        return sum((part.whole for part in self.parts), Counts())

    @property
    def is_known(self) -> bool:
        """Whether its work in theory is known."""
        return all(part.counted.cost is not None for part in self.parts)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets of its foreign calls in the lowered program."""
        return tuple(dict.fromkeys(targets(self.lowered)))


def targets(instructions: Iterable[Work]) -> Iterator[str]:
    """Yields the targets of the foreign calls among instructions."""
    for each in instructions:
        target = each.opcode.partition(":")[2]
        if each.flops is None and not _parse.is_marker(target):
            yield target


def total(instructions: Iterable[Work]) -> int:
    """Returns the FLOPs of instructions, without foreign code."""
    return sum(each.flops or 0 for each in instructions)


class Equations(NamedTuple):
    """All work of a program.

    Attributes:
      known: the work of each equation, by its number.
      unknown: instructions whose equation is unknown.
      lowered, compiled: all instructions.
      devices: number of devices that the compiled program is partitioned across.
    """

    known: dict[int, EquationWork]
    unknown: EquationWork
    lowered: tuple[Work, ...]
    compiled: tuple[Work, ...]
    devices: int


def equations(counted: Analysis, skipped: Analysis, marked: Marked, lowered: str, compiled: str) -> Equations:
    """Compares a program equation by equation.

    Args:
      counted, skipped: the analysis, with and without products with padding.
      marked: the program with marks.
      lowered, compiled: the text of XLA's programs.
    """
    parts = list(_parts(counted, skipped, marked))
    before, after = _parse.parse(lowered), _parse.parse(compiled)
    of_theory = {part.chain[-1] for part in parts if part.chain and part.counted.name != "cond"}
    of_lowered = [(each, marked.chain(each.op_names)) for each in work(before, _chooser(marked, of_theory))]
    foreign = {chain[-1] for each, chain in of_lowered if chain and any(targets([each]))}
    in_lowered = {chain[-1] for _, chain in of_lowered if chain}
    of_compiled = [(each, marked.chain(each.op_names)) for each in work(after, _chooser(marked, in_lowered))]
    elsewhere = _elsewhere(marked, parts, [chain for _, chain in of_lowered])
    found: dict[int, EquationWork] = {}
    unknown = EquationWork("")

    def at(chain: Chain) -> EquationWork:
        # An equation with a rule, or a conditional of which XLA counts another branch, stands for all inside.
        number = next((number for number in chain if number in of_theory or number in elsewhere), chain[-1])
        return found.setdefault(number, EquationWork(marked.names[number]))

    for part in parts:
        if not part.chain:
            unknown.parts.append(part)
            continue
        # A foreign call may stand for a whole function.
        inner = next((i for i in part.chain if i in foreign), None) if part.chain[-1] not in in_lowered else None
        if inner is None:
            at(part.chain).parts.append(part)
        else:
            found.setdefault(inner, EquationWork(marked.names[inner])).parts.append(part)
    for each, chain in of_lowered:
        (at(chain) if chain else unknown).lowered.append(each)
    for each, chain in of_compiled:
        # Of a function that is called, the name alone does not tell which of its equations an instruction belongs to.
        is_known = chain and (at(chain).parts or at(chain).lowered)
        (at(chain) if is_known else unknown).compiled.append(each)
    for equation in found.values():
        if not any(each.opcode == "convolution" for each in equation.lowered):
            # Padding is skipped by XLA's convolutions only.
            equation.parts = [part._replace(skipped=part.counted) for part in equation.parts]
    all_lowered, all_compiled = (tuple(each for each, _ in pairs) for pairs in (of_lowered, of_compiled))
    return Equations(found, unknown, all_lowered, all_compiled, after.partitions)


def _parts(counted: Analysis, skipped: Analysis, marked: Marked) -> Iterator[Part]:
    program, chains = program_of(marked, skipped.conventions)
    if [each.name for each in program.operations] != [each.name for each in counted.operations]:
        chains = [()] * len(counted.operations)  # the equation of each operation is unknown
    for with_padding, without, chain in zip(counted.operations, skipped.operations, chains, strict=True):
        yield Part(with_padding, without, chain, _copies(marked, chain))


def _copies(marked: Marked, chain: Chain) -> int:
    copies = 1
    for number in chain:
        if marked.names[number] == "scan":
            copies *= _unrolled(marked.params[number]["length"], int(marked.params[number]["unroll"]))
    return copies


def _unrolled(length: int, unroll: int) -> int:
    """Returns the number of copies of a loop's body in the lowered program: in the `while`, and after it."""
    trips, rest = divmod(length, unroll) if unroll else (0, length)
    if unroll != 1 and trips == 1 and rest == 0:
        return length
    return (unroll if trips else 0) + rest


def _chooser(marked: Marked, known: AbstractSet[int]):
    """Returns a function that chooses the branch with the most instructions from known equations."""

    def choose(branches: Sequence[list[Work]]) -> list[Work]:
        return max(branches, key=lambda branch: sum(bool(known & set(marked.chain(e.op_names)[-1:])) for e in branch))

    return choose


def _elsewhere(marked: Marked, parts: Iterable[Part], lowered: Iterable[Chain]) -> set[int]:
    """Returns the conditionals of which theory and XLA count different branches, because their counts differ."""
    inside: dict[int, tuple[set[int], set[int]]] = collections.defaultdict(lambda: (set(), set()))
    for side, chains in enumerate(([part.chain for part in parts], lowered)):
        for chain in chains:
            for i, number in enumerate(chain[:-1]):
                if marked.names[number] == "cond":
                    inside[number][side].add(chain[i + 1])
    return {number for number, (theory, xla) in inside.items() if theory and xla and not theory & xla}
