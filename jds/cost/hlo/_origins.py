"""The equation that each instruction of a compiled program comes from."""

from collections.abc import Iterator, Sequence

from jds._common.name_stack import Origin
from jds.cost.hlo._parse import Instruction, Module, parse
from jds.cost.hlo._tags import Marked


def origins_of_instructions(marked: Marked) -> dict[str, Origin]:
    """Returns the layer and the primitive of each instruction of a compiled program, and of each loop and branch.

    Those of which XLA does not tell the equation are missing.
    """
    module = parse(marked.compiled.as_text() or "")
    found = {}
    for name, op_names in _named(module, module.entry, ()):
        chain = marked.chain(op_names)
        if chain:
            found[name] = Origin(marked.layer(chain), marked.names[chain[-1]])
    return found


def _named(module: Module, computation: str, around: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields each instruction that runs by itself, with JAX's names of the calls around it and its own."""
    names = _names(module.computations[computation])
    for instruction in module.computations[computation]:
        own = (*around, names[instruction.name])
        yield instruction.name, own
        if instruction.opcode in ("while", "conditional", "call"):
            # The instructions of a function have names relative to its call; others have whole ones.
            outside = own if instruction.opcode == "call" else around
            for called in instruction.called:
                yield from _named(module, called, outside)


def _names(computation: Sequence[Instruction]) -> dict[str, str]:
    """Returns JAX's name for each instruction; one without a name has that of its first user, if any."""
    own = {instruction.name: instruction.op_name for instruction in computation}
    names = dict(own)
    for instruction in reversed(computation):
        for operand in instruction.operands:
            if not own.get(operand, "known"):
                names[operand] = names[instruction.name] or names[operand]
    return names
