"""The equation that each instruction of a compiled program comes from, and the loops that it runs in."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
from jax.interpreters import partial_eval

from jds._common.name_stack import Origin
from jds._common.traceable import Role
from jds.cost._flatten import flatten
from jds.cost._program import Conventions, Program
from jds.cost.hlo._parse import PRODUCTS, Instruction, Module, parse
from jds.cost.hlo._tags import Chain, Marked, MarkedTrips, chain_of_scopes, has_mark

# They hold other instructions, which run as a part of them.
_HOLDERS = ("while", "conditional", "call")


class Source(NamedTuple):
    """Where an instruction of a compiled program comes from.

    Attributes:
      chain: its equation and those around it, outermost first; empty if XLA does not tell.
      loops: names of the `while` instructions around it, outermost first.
      is_loop: whether it is one itself.
      holds_others: whether other instructions run as a part of it.
      is_product: whether it computes a convolution or a matrix product.
    """

    chain: Chain
    loops: tuple[str, ...]
    is_loop: bool
    holds_others: bool
    is_product: bool


def sources(marked: Marked) -> dict[str, Source]:
    """Returns the source of each instruction of a compiled program that runs by itself, and of each loop and branch."""
    module = parse(marked.compiled.as_text() or "")
    return {
        instruction.name: Source(
            chain=marked.chain(op_names),
            loops=loops,
            is_loop=instruction.opcode == "while",
            holds_others=instruction.opcode in _HOLDERS,
            is_product=_is_product(module, instruction),
        )
        for instruction, op_names, loops in _named(module, module.entry, (), ())
    }


def origins_of_instructions(marked: Marked) -> dict[str, Origin]:
    """Returns the layer and the primitive of each instruction of a compiled program, and of each loop and branch.

    Those of which XLA does not tell the equation are missing.
    """
    return {name: origin_of(marked, source.chain) for name, source in sources(marked).items() if source.chain}


def origin_of(marked: Marked, chain: Chain) -> Origin:
    """Returns the layer and the primitive of the last of these equations."""
    return Origin(marked.layer(chain), marked.names[chain[-1]])


def program_of(marked: Marked, conventions: Conventions) -> tuple[Program, list[Chain]]:
    """Returns a marked program as an analysis has it, and the equations that each operation comes from."""
    closed = marked.jaxpr
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    roles: list[Role] = ["argument"] * (len(jaxpr.constvars) + len(jaxpr.invars))
    if isinstance(conventions.trip_counts, Mapping):
        conventions = conventions._replace(trip_counts=MarkedTrips(conventions.trip_counts, marked))
    program = flatten(jaxpr, roles, (), conventions)
    return program, [chain_of_scopes(each.path) for each in program.operations]


class Operations:
    """Finds the operations of an analysis that instructions come from, for the platform of this machine."""

    def __init__(self, marked: Marked) -> None:
        conventions = Conventions(count_padding=True, platform=jax.default_backend(), trip_counts=None)
        self._program, self.chains = program_of(marked, conventions)
        self._numbers: dict[Chain, list[int]] = collections.defaultdict(list)
        for number, chain in enumerate(self.chains):
            self._numbers[chain].append(number)

    def of(self, source: Source) -> int | None:
        """Returns the index in `Analysis.operations` of an instruction's operation; None if it has no single one.

        XLA names an instruction that replaces several after the last one. A product named after an operation without
        products, such as the transposition of its result, is the product that this operation changes.
        """
        # An equation with a rule, or a branch that is not counted, is one operation with all that is inside.
        chains = (source.chain[:end] for end in range(len(source.chain), 0, -1))
        numbers = next((self._numbers[chain] for chain in chains if chain in self._numbers), [])
        if len(numbers) != 1:
            return None
        (number,) = numbers
        return self._product_before(number) if source.is_product else number

    def _product_before(self, number: int) -> int:
        operations, values = self._program.operations, self._program.values
        found: int | None = number
        while found is not None:
            if operations[found].counts.macs:
                return found
            inputs = operations[found].inputs
            found = values[inputs[0]].made_by if len(inputs) == 1 else None
        return number


def _named(
    module: Module, computation: str, around: tuple[str, ...], loops: tuple[str, ...]
) -> Iterator[tuple[Instruction, tuple[str, ...], tuple[str, ...]]]:
    """Yields each instruction that runs by itself, JAX's names of the calls around it and its own, and its loops."""
    names = _names(module.computations[computation], is_function=bool(around))
    for instruction in module.computations[computation]:
        own = (*around, names[instruction.name])
        yield instruction, own, loops
        if instruction.opcode in _HOLDERS:
            # The instructions of a function have names relative to its call; others have whole ones.
            outside = own if instruction.opcode == "call" else around
            inside = (*loops, instruction.name) if instruction.opcode == "while" else loops
            for called in instruction.called:
                yield from _named(module, called, outside, inside)


def _is_product(module: Module, instruction: Instruction) -> bool:
    if instruction.opcode == "fusion":
        return any(_is_product(module, each) for name in instruction.called for each in module.computations[name])
    return instruction.opcode in PRODUCTS


def _names(computation: Sequence[Instruction], *, is_function: bool) -> dict[str, str]:
    """Returns JAX's name for each instruction.

    One without the name of an equation, such as a copy that XLA adds, has that of its first user or, without any, of
    what it reads. In a function that is called, the name of the call tells the equation. A part of a cumulative
    operation has none: XLA splits these, and what they read and who reads them may be another equation's.
    """
    own = {each.name: each.op_name if is_function or has_mark(each.op_name) else "" for each in computation}
    names = dict(own)
    nameless = {each.name for each in computation if not own[each.name] and not _is_cumulative(each)}
    for each in reversed(computation):
        for operand in nameless.intersection(each.operands):
            names[operand] = names[each.name] or names[operand]
    for each in computation:
        if each.name in nameless:
            names[each.name] = names[each.name] or next(filter(None, map(names.get, each.operands)), "")
    return names


def _is_cumulative(instruction: Instruction) -> bool:
    return instruction.opcode == "reduce-window" or instruction.name.startswith("wrapped_reduce-window")
