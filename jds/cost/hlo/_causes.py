"""The causes of the differences between theory, the lowered program and the compiled program, equation by equation."""

import collections
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jds._common.text import short_number
from jds.cost.hlo._equations import Equations, EquationWork, Part, targets, total
from jds.cost.hlo._flops import Work

# An equation with more than this many times its products is computed by another algorithm.
_DENSE = 1.5
_PRODUCTS = ("dot", "convolution")
# A float32 has 24 bits.
_EXACT = 2**24


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


class _Share(NamedTuple):
    """A part of a difference that comes from one equation."""

    cause: str
    flops: int
    equation: EquationWork


_Shares = Iterator[_Share]

# Explanations of the causes, after `_explained` has filled in the names of primitives, opcodes and layers.
_EXPLANATIONS = {
    "padding": "XLA does not count products with padding",
    "loops counted once": "XLA counts the body and condition of a loop once, regardless of the number of iterations",
    "integers": "XLA also counts operations on integers and booleans",
    "complex numbers": "XLA counts operations on complex numbers like those on real numbers",
    "sorts": "XLA uses the logarithm of the array's size, not of the length of the sorted axis, and one comparison",
    "fft": "XLA counts 8 FLOPs for each element and logarithm of a length",
    "random numbers": "XLA counts the integer operations of {names} as lowered, and of loops one iteration",
    "loop counters": "XLA counts loop counters and their index arithmetic",
    "branches": "XLA counts another branch, the one that is most expensive by its own count",
    "multiplications by one": "XLA drops them before it counts",
    "dropped work": "{names}: not in the program that JAX passes to XLA",
    "uncounted work": "XLA counts nothing for {names}{places}",
    "repeated equations": "JAX writes {names} into the program several times",
    "lowering": "{names}{places} as {opcodes}{unknown}",
    "communication": "XLA adds the results of devices",
    "unrolled loops": "XLA repeats the bodies of loops: {names}",
    "removed work": "XLA folds, merges or drops instructions of {names}{places}",
    "repeated work": "XLA computes {names}{places} again in other fusions",
    "rewritten work": "XLA computes {names}{places} by other instructions: {opcodes}",
    "products": "XLA computes the products of {names}{places} by other instructions: {opcodes}",
}
# The causes with one line for each primitive.
_BY_PRIMITIVE = ("lowering",)

_LOOPS = ("scan", "while", "cond")
# The causes of equations whose only difference is how XLA counts them.
_CAUSE_OF_PRIMITIVE = {"sort": "sorts", "fft": "fft"} | dict.fromkeys(_LOOPS, "loop counters")


def to_lowered(found: Equations) -> Iterator[Difference]:
    """Yields the causes of the differences between theory and the lowered program."""
    # Of what XLA does not count, all iterations are missing, with padding, on all devices.
    ours = [each for each in found.known.values() if total(each.lowered) and not each.targets]
    parts = [part for equation in ours for part in equation.parts]
    yield from _conventions(parts)
    yield from _foreign(found.known.values())
    yield from _summed((share for equation in found.known.values() for share in _of_lowering(equation)), _lowered)


def _conventions(parts: Sequence[Part]) -> Iterator[Difference]:
    """Yields the differences between all work in theory, and what is done once, on one device and without padding."""

    def of(cause: str, words: str, flops: Callable[[Part], int]) -> Iterator[Difference]:
        changed = [(part.counted.name, flops(part)) for part in parts if flops(part)]
        amount = sum(change for _, change in changed)
        if amount:
            yield Difference(cause, amount, words, tuple(dict.fromkeys(name for name, _ in changed)))

    yield from of("padding", _EXPLANATIONS["padding"], lambda part: part.without_padding.flops - part.whole.flops)
    yield from of(
        "loops counted once",
        _EXPLANATIONS["loops counted once"],
        lambda part: part.once.flops * part.counted.devices - part.without_padding.flops,
    )
    yield from of(
        "devices",
        "XLA counts only one device's share of manually split work",
        lambda part: part.once.flops * (1 - part.counted.devices),
    )


def _foreign(equations: Iterable[EquationWork]) -> Iterator[Difference]:
    """Yields, for each target of foreign calls, what they do in theory, in all iterations and with padding."""
    by_target: dict[str, list[EquationWork]] = {}
    for equation in equations:
        if equation.targets:
            by_target.setdefault(", ".join(equation.targets), []).append(equation)
    for target, behind in by_target.items():
        flops = sum(equation.whole.flops for equation in behind)
        calls = sum(1 for equation in behind for _ in targets(equation.lowered))
        names = dict.fromkeys(part.counted.name for equation in behind for part in equation.parts)
        is_known = all(equation.is_known for equation in behind)
        if is_known and not flops:
            continue
        times = f" ×{calls}" if calls > 1 else ""
        theory = f"{short_number(flops)} FLOPs in theory" if is_known else "unknown in theory"
        words = f"XLA counts nothing for {target}{times}{_places(behind)}: {theory}"
        yield Difference("foreign code", -flops, words, tuple(names))


def _of_lowering(equation: EquationWork) -> _Shares:
    """Yields why an equation, once and on one device, is not what XLA counts for its instructions."""
    if not total(equation.lowered) and not equation.targets:
        yield from _share(_cause_of_lowering(equation), -equation.whole.flops, equation)
        return
    if equation.targets:
        # What is around the foreign calls.
        yield from _share("lowering", total(equation.lowered), equation)
        return
    rest = total(equation.lowered) - equation.theory.flops
    if not rest:
        return
    for cause, flops in _certain(equation):
        yield from _share(cause, flops, equation)
        rest -= flops
    yield from _share(_cause_of_lowering(equation), rest, equation)


def _share(cause: str, flops: int, equation: EquationWork) -> _Shares:
    if flops:
        yield _Share(cause, flops, equation)


def _certain(equation: EquationWork) -> Iterator[tuple[str, int]]:
    """Yields the differences that follow from the dtypes of an equation."""
    if _is_random(equation) or equation.name in _CAUSE_OF_PRIMITIVE:
        return
    if any(part.is_complex for part in equation.parts):
        yield "complex numbers", sum(part.once_if_real for part in equation.parts) - equation.theory.flops
    yield "integers", equation.theory.integer_operations


def _is_random(equation: EquationWork) -> bool:
    return any(part.counted.cost and part.counted.cost.kind == "random" for part in equation.parts)


def _cause_of_lowering(equation: EquationWork) -> str:
    if not equation.lowered:
        by_one = all(part.counted.is_by_one for part in equation.parts)
        return "multiplications by one" if by_one else "dropped work"
    if equation.name in _LOOPS and any(part.counted.name != "cond" for part in equation.parts):
        return "branches"
    if _is_random(equation):
        return "random numbers"
    if not total(equation.lowered):
        return "uncounted work"
    if _is_repeated(equation):
        return "repeated equations"
    if equation.name in _CAUSE_OF_PRIMITIVE:
        return _CAUSE_OF_PRIMITIVE[equation.name]
    return "expanded functions" if _is_function(equation) else "lowering"


def _is_repeated(equation: EquationWork) -> bool:
    """Whether all instructions of an equation are there several times, each time with its work in theory."""
    times = math.gcd(*_numbers(equation.lowered).values())
    once = equation.theory.flops + equation.theory.integer_operations
    return times > 1 and total(equation.lowered) == times * once


def _is_function(equation: EquationWork) -> bool:
    return bool(equation.theory.transcendentals) and not equation.theory.flops


def to_compiled(found: Equations) -> Iterator[Difference]:
    """Yields the causes of the differences between the lowered and the compiled program."""
    _rename([*found.known.values(), found.unknown])
    shares = [share for equation in found.known.values() for share in _of_compilation(equation, found.devices)]
    # Only partitioning adds it, with a name or without.
    shares += _share("communication", _of_communication(found.unknown.compiled), found.unknown)
    split = sum(share.flops for share in shares if share.cause == "devices")
    if split:
        words = f"XLA splits the work across {found.devices} devices"
        names = [share.equation.name for share in shares if share.cause == "devices"]
        yield Difference("devices", split, words, tuple(dict.fromkeys(names)))
    yield from _dense(share for share in shares if share.cause == "dense convolution")
    for step in _summed((s for s in shares if s.cause not in ("devices", "dense convolution")), _compiled):
        # Without a name, the replacement of an instruction is not found.
        is_unsure = step.cause == "removed work" and total(found.unknown.compiled)
        words = ", or replaces them by instructions without a name" if is_unsure else ""
        yield step._replace(explanation=step.explanation + words)


def _rename(equations: Sequence[EquationWork]) -> None:
    """Gives instructions back to their equation if XLA named them after another one, or not at all.

    XLA names an instruction that replaces several after the last one: a product after the transposition of its result.
    Such an instruction is new in one equation, and the same work is missing in another one.
    """
    missing: dict[tuple[str, int], list[EquationWork]] = {}
    for equation in equations:
        for key, times in (_numbers(equation.lowered) - _numbers(equation.compiled)).items():
            missing.setdefault(key, []).extend([equation] * times)
    for equation in equations:
        own = _numbers(equation.lowered)
        for each in tuple(equation.compiled):
            key = _key(each)
            if each.flops and key not in own and missing.get(key):
                equation.compiled.remove(each)
                missing[key].pop().compiled.append(each)


def _of_compilation(equation: EquationWork, devices: int) -> _Shares:
    before, after = equation.lowered, equation.compiled
    if total(before) == total(after):
        return
    if set(targets(after)) - set(targets(before)):
        yield from _share("foreign code", total(after) - total(before), equation)
        return
    communication = _of_communication(after) - _of_communication(before)
    yield from _share("communication", communication, equation)
    rest = total(after) - total(before) - communication
    if devices > 1 and rest < 0 and _opcodes(before) >= _opcodes(after) - {"all-reduce"} and after:
        yield from _share("devices", rest, equation)
        return
    products = _of_products(after) - _of_products(before)
    if _is_unrolled(before, after):
        yield from _share("unrolled loops", rest, equation)
        return
    yield from _share(_cause_of_products(equation), products, equation)
    yield from _share(_cause_of_compilation(equation), rest - products, equation)


def _of_communication(instructions: Iterable[Work]) -> int:
    return sum(each.flops or 0 for each in instructions if each.opcode.startswith("all-reduce"))


def _of_products(instructions: Iterable[Work]) -> int:
    return sum(each.flops or 0 for each in instructions if each.opcode in _PRODUCTS)


def _opcodes(instructions: Iterable[Work]) -> set[str]:
    return {each.opcode for each in instructions if each.flops}


def _is_unrolled(before: Sequence[Work], after: Sequence[Work]) -> bool:
    """Whether instructions of a loop have left it, and there are several times as many."""
    counted = [each for each in before if each.flops], [each for each in after if each.flops]
    if not all(counted) or max(e.depth for e in counted[1]) >= max(e.depth for e in counted[0]):
        return False
    return total(after) % total(before) == 0 and _opcodes(before) == _opcodes(after)


def _cause_of_products(equation: EquationWork) -> str:
    kinds = {part.counted.cost.kind for part in equation.parts if part.counted.cost}
    before, after = _of_products(equation.lowered), _of_products(equation.compiled)
    if kinds & {"depthwise", "grouped"} and after > _DENSE * before:
        return "dense convolution"
    return _cause_of_compilation(equation) if after < before else "products"


def _cause_of_compilation(equation: EquationWork) -> str:
    before, after = _numbers(equation.lowered), _numbers(equation.compiled)
    if after <= before:
        return "removed work"
    if set(after) <= set(before):
        return "repeated work" if before <= after else "rewritten work"
    return "expanded functions" if _is_function(equation) else "rewritten work"


def _numbers(instructions: Iterable[Work]) -> collections.Counter[tuple[str, int]]:
    """Returns the number of instructions of each kind and size."""
    return collections.Counter(_key(each) for each in instructions if each.flops)


def _key(instruction: Work) -> tuple[str, int]:
    # A product may become a convolution, or the other way round.
    opcode = "product" if instruction.opcode in _PRODUCTS else instruction.opcode
    return opcode, instruction.flops or 0


def _dense(shares: Iterable[_Share]) -> Iterator[Difference]:
    for share in shares:
        before, after = _of_products(share.equation.lowered), _of_products(share.equation.compiled)
        kind = next(part.counted.cost.kind for part in share.equation.parts if part.counted.cost)
        yield Difference(
            "dense convolution",
            share.flops,
            f"in {share.equation.layer or 'no layer'}, XLA runs a {kind} convolution or its gradient as a dense one: "
            f"{after:,} FLOPs instead of {before:,}, {after / before:.1f} times as many",
            (share.equation.name,),
        )


def _lowered(equation: EquationWork) -> Sequence[Work]:
    return equation.lowered


def _compiled(equation: EquationWork) -> Sequence[Work]:
    return equation.compiled


def _summed(shares: Iterable[_Share], instructions: Callable[[EquationWork], Sequence[Work]]) -> Iterator[Difference]:
    """Yields one difference for each cause, or for each cause and primitive."""
    groups: dict[tuple[str, str], list[_Share]] = {}
    for share in shares:
        name = share.equation.name if share.cause in _BY_PRIMITIVE else ""
        groups.setdefault((share.cause, name), []).append(share)
    for (cause, _), found in groups.items():
        flops = sum(share.flops for share in found)
        if flops:
            names = _largest((share.equation.name, abs(share.flops)) for share in found if share.equation.name)
            yield Difference(cause, flops, _explained(cause, found, names, instructions), names)


def _explained(
    cause: str, shares: Sequence[_Share], names: Sequence[str], instructions: Callable[[EquationWork], Sequence[Work]]
) -> str:
    work = [each for share in shares for each in instructions(share.equation)]
    opcodes = largest_opcodes(work)
    words = _EXPLANATIONS.get(cause) or _OTHER_EXPLANATIONS[cause, instructions is _compiled]
    return words.format(
        names=_listed(f"`{name}`" for name in names),
        places=_places([share.equation for share in shares]),
        opcodes=_listed(opcodes),
        unknown="" if all(share.equation.is_known for share in shares) else "; unknown in theory",
    )


_OTHER_EXPLANATIONS = {
    ("expanded functions", False): "{names} as {opcodes}",
    ("expanded functions", True): "XLA computes {names} by other instructions: {opcodes}",
    ("foreign code", True): "XLA calls a library for {names}, and counts nothing for it",
}


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


def _places(equations: Sequence[EquationWork]) -> str:
    layers = list(dict.fromkeys(equation.layer for equation in equations if equation.layer))
    return f" in {_listed(layers, 1) if len(layers) == 1 else f'{len(layers)} layers'}" if layers else ""


def rounding(reported: float | None, instructions: Sequence[Work]) -> int:
    """Returns the difference between XLA's sum, in float32, and the exact sum; 0 if it is too large to be rounding."""
    if reported is None or reported < _EXACT:
        return 0
    error = round(reported) - total(instructions)
    return error if abs(error) <= len(instructions) * float(np.spacing(np.float32(reported))) / 2 else 0
