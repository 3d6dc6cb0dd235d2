"""The causes of the differences between theory and the lowered program, equation by equation."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from jds._common.text import short_number
from jds.cost.hlo._difference import Difference, Share, is_function, numbers, places, share_of, summed
from jds.cost.hlo._equations import Equations, EquationWork, Part, targets, total

# The explanation of each cause.
_WORDS = {
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
    "devices": "XLA counts only one device's share of manually split work",
    "expanded functions": "{names} as {opcodes}",
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
    shares = (each for equation in found.known.values() for each in _of_lowering(equation))
    yield from summed(shares, _WORDS, lambda equation: equation.lowered, _BY_PRIMITIVE)


def _conventions(parts: Sequence[Part]) -> Iterator[Difference]:
    """Yields the differences between all work in theory, and what is done once, on one device and without padding."""

    def of(cause: str, flops: Callable[[Part], int]) -> Iterator[Difference]:
        changed = [(part.counted.name, flops(part)) for part in parts if flops(part)]
        amount = sum(change for _, change in changed)
        if amount:
            yield Difference(cause, amount, _WORDS[cause], tuple(dict.fromkeys(name for name, _ in changed)))

    yield from of("padding", lambda part: part.without_padding.flops - part.whole.flops)
    yield from of(
        "loops counted once",
        lambda part: part.once.flops * part.counted.devices - part.without_padding.flops,
    )
    yield from of("devices", lambda part: part.once.flops * (1 - part.counted.devices))


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
        words = f"XLA counts nothing for {target}{times}{places(behind)}: {theory}"
        yield Difference("foreign code", -flops, words, tuple(names))


def _of_lowering(equation: EquationWork) -> Iterator[Share]:
    """Yields why an equation, once and on one device, is not what XLA counts for its instructions."""
    if not total(equation.lowered) and not equation.targets:
        yield from share_of(_cause_of_lowering(equation), -equation.whole.flops, equation)
        return
    if equation.targets:
        # What is around the foreign calls.
        yield from share_of("lowering", total(equation.lowered), equation)
        return
    rest = total(equation.lowered) - equation.theory.flops
    if not rest:
        return
    for cause, flops in _certain(equation):
        yield from share_of(cause, flops, equation)
        rest -= flops
    yield from share_of(_cause_of_lowering(equation), rest, equation)


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
    return "expanded functions" if is_function(equation) else "lowering"


def _is_repeated(equation: EquationWork) -> bool:
    """Whether all instructions of an equation are there several times, each time with its work in theory."""
    times = math.gcd(*numbers(equation.lowered).values())
    once = equation.theory.flops + equation.theory.integer_operations
    return times > 1 and total(equation.lowered) == times * once
