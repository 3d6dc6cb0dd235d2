"""Differences between counts: their causes, and how these are explained."""

import collections
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jds.cost.hlo._equations import EquationWork
from jds.cost.hlo._flops import Work
from jds.cost.hlo._parse import PRODUCTS


class Difference(NamedTuple):
    """One cause of a difference.

    Attributes:
      cause: for the lowered program `"padding"`, `"loops counted once"`, `"devices"`, `"foreign code"`, `"integers"`,
        `"complex numbers"`, `"sorts"`, `"fft"`, `"random numbers"`, `"loop counters"`, `"branches"`,
        `"expanded functions"`, `"multiplications by one"`, `"dropped work"`, `"repeated equations"`, `"uncounted work"`
        or `"lowering"`, which stands for any other form that JAX gives an equation; for the compiled program
        `"devices"`, `"communication"`, `"foreign code"`, `"dense convolution"`, `"products"`, `"unrolled loops"`,
        `"removed work"`, `"repeated work"`, `"expanded functions"` or `"rewritten work"`; for either `"rounding"`.
      flops: FLOPs that it adds; negative if it removes work.
      explanation: the cause in a sentence.
      primitives: the primitives of the equations whose work differs.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> steps = cost.reconcile(jnp.add, jnp.ones(8, int), jnp.ones(8, int))
      >>> [(step.cause, step.flops, step.primitives) for step in steps.to_lowered]
      [('integers', 8, ('add',))]
    """

    cause: str
    flops: int
    explanation: str
    primitives: tuple[str, ...] = ()


class Share(NamedTuple):
    """A part of a difference that comes from one equation."""

    cause: str
    flops: int
    equation: EquationWork


def share_of(cause: str, flops: int, equation: EquationWork) -> Iterator[Share]:
    """Yields a share unless it is zero."""
    if flops:
        yield Share(cause, flops, equation)


# Its part of an equation: the instructions before or after compilation.
Instructions = Callable[[EquationWork], Sequence[Work]]


def summed(
    shares: Iterable[Share],
    words: Mapping[str, str],
    instructions: Instructions,
    by_primitive: Collection[str] = (),
) -> Iterator[Difference]:
    """Yields one difference for each cause, or for each cause and primitive.

    Args:
      shares: the shares of equations.
      words: the explanation of each cause, in which the names of primitives, opcodes and layers are filled in.
      instructions: returns the instructions of an equation whose opcodes are named.
      by_primitive: the causes with one line for each primitive.
    """
    groups: dict[tuple[str, str], list[Share]] = {}
    for each in shares:
        name = each.equation.name if each.cause in by_primitive else ""
        groups.setdefault((each.cause, name), []).append(each)
    for (cause, _), found in groups.items():
        flops = sum(each.flops for each in found)
        if flops:
            names = _largest((each.equation.name, abs(each.flops)) for each in found if each.equation.name)
            work = [each for one in found for each in instructions(one.equation)]
            yield Difference(cause, flops, _explained(words[cause], found, names, work), names)


def _explained(words: str, shares: Sequence[Share], names: Sequence[str], work: Iterable[Work]) -> str:
    return words.format(
        names=_listed(f"`{name}`" for name in names),
        places=places([each.equation for each in shares]),
        opcodes=_listed(largest_opcodes(work)),
        unknown="" if all(each.equation.is_known for each in shares) else "; unknown in theory",
    )


def is_function(equation: EquationWork) -> bool:
    """Whether an equation only computes transcendental functions."""
    return bool(equation.theory.transcendentals) and not equation.theory.flops


def numbers(instructions: Iterable[Work]) -> collections.Counter[tuple[str, int]]:
    """Returns the number of instructions of each kind and size."""
    return collections.Counter(kind_of(each) for each in instructions if each.flops)


def kind_of(instruction: Work) -> tuple[str, int]:
    """Returns what instructions that do the same work have in common."""
    opcode = "product" if instruction.opcode in PRODUCTS else instruction.opcode
    return opcode, instruction.flops or 0


def _largest(amounts: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Returns names with the largest sum first."""
    sums: collections.Counter[str] = collections.Counter()
    for name, amount in amounts:
        sums[name] += amount
    return tuple(name for name, _ in sums.most_common())


def largest_opcodes(instructions: Iterable[Work]) -> tuple[str, ...]:
    """Returns the opcodes with the most FLOPs first."""
    return _largest((each.opcode, each.flops) for each in instructions if each.flops)


def _listed(names: Iterable[str], at_most: int = 3) -> str:
    names = list(names)
    more = [f"{len(names) - at_most} more"] if len(names) > at_most else []
    return ", ".join(names[:at_most] + more)


def places(equations: Sequence[EquationWork]) -> str:
    """Returns in which layers equations are, in words."""
    layers = list(dict.fromkeys(equation.layer for equation in equations if equation.layer))
    return f" in {_listed(layers, 1) if len(layers) == 1 else f'{len(layers)} layers'}" if layers else ""
