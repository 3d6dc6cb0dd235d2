"""The causes of the differences between the lowered and the compiled program, equation by equation."""

from collections.abc import Iterable, Iterator, Sequence

from jds._common.text import in_layer
from jds.cost.hlo._difference import Difference, Share, is_function, kind_of, numbers, share_of, summed
from jds.cost.hlo._equations import Equations, EquationWork, targets, total
from jds.cost.hlo._flops import Work
from jds.cost.hlo._parse import PRODUCTS

# An equation with more than this many times its products is computed by another algorithm.
_DENSE = 1.5
# The explanation of each cause.
_WORDS = {
    "communication": "XLA adds the results of devices",
    "unrolled loops": "XLA repeats the bodies of loops: {names}",
    "removed work": "XLA folds, merges or drops instructions of {names}{places}",
    "repeated work": "XLA computes {names}{places} again in other fusions",
    "rewritten work": "XLA computes {names}{places} by other instructions: {opcodes}",
    "products": "XLA computes the products of {names}{places} by other instructions: {opcodes}",
    "expanded functions": "XLA computes {names}{places} by other instructions: {opcodes}",
    "foreign code": "XLA calls a library for {names}{places}, and counts nothing for it",
}


def to_compiled(found: Equations) -> Iterator[Difference]:
    """Yields the causes of the differences between the lowered and the compiled program."""
    _rename([*found.known.values(), found.unknown])
    shares = [share for equation in found.known.values() for share in _of_compilation(equation, found.devices)]
    # Only partitioning adds it, with a name or without.
    shares += share_of("communication", _of_communication(found.unknown.compiled), found.unknown)
    yield from map(_dense, (share for share in shares if share.cause == "dense convolution"))
    words = _WORDS | {"devices": f"XLA splits the work across {found.devices} devices"}
    if total(found.unknown.compiled):
        words["removed work"] += ", or replaces them by instructions without a name"
    others = (share for share in shares if share.cause != "dense convolution")
    yield from summed(others, words, lambda equation: equation.compiled)


def _rename(equations: Sequence[EquationWork]) -> None:
    """Gives instructions back to their equation if XLA named them after another one, or not at all.

    XLA names an instruction that replaces several after the last one: a product after the transposition of its result.
    Such an instruction is new in one equation, and the same work is missing in another one.
    """
    missing: dict[tuple[str, int], list[EquationWork]] = {}
    for equation in equations:
        for kind, times in (numbers(equation.lowered) - numbers(equation.compiled)).items():
            missing.setdefault(kind, []).extend([equation] * times)
    for equation in equations:
        own = numbers(equation.lowered)
        for each in tuple(equation.compiled):
            kind = kind_of(each)
            if each.flops and kind not in own and missing.get(kind):
                equation.compiled.remove(each)
                missing[kind].pop().compiled.append(each)


def _of_compilation(equation: EquationWork, devices: int) -> Iterator[Share]:
    before, after = equation.lowered, equation.compiled
    if total(before) == total(after):
        return
    if set(targets(after)) - set(targets(before)) and total(after) < total(before):
        yield from share_of("foreign code", total(after) - total(before), equation)
        return
    communication = _of_communication(after) - _of_communication(before)
    yield from share_of("communication", communication, equation)
    rest = total(after) - total(before) - communication
    if devices > 1 and rest < 0 and _opcodes(before) >= _opcodes(after) - {"all-reduce"} and after:
        yield from share_of("devices", rest, equation)
        return
    products = _of_products(after) - _of_products(before)
    if _is_unrolled(before, after):
        yield from share_of("unrolled loops", rest, equation)
        return
    yield from share_of(_cause_of_products(equation), products, equation)
    yield from share_of(_cause_of_compilation(equation), rest - products, equation)


def _of_communication(instructions: Iterable[Work]) -> int:
    return sum(each.flops or 0 for each in instructions if each.opcode.startswith("all-reduce"))


def _of_products(instructions: Iterable[Work]) -> int:
    return sum(each.flops or 0 for each in instructions if each.opcode in PRODUCTS)


def _opcodes(instructions: Iterable[Work]) -> set[str]:
    return {each.opcode for each in instructions if each.flops}


def _is_unrolled(before: Sequence[Work], after: Sequence[Work]) -> bool:
    """Whether all instructions have left a loop, and there are several times as many of each."""
    depths = [max((each.depth for each in found if each.flops), default=0) for found in (before, after)]
    once, all_times = numbers(before), numbers(after)
    times = all_times.total() // once.total() if once else 0
    return depths[1] < depths[0] and all_times == {kind: times * count for kind, count in once.items()}


def _cause_of_products(equation: EquationWork) -> str:
    kinds = {part.counted.cost.kind for part in equation.parts if part.counted.cost}
    before, after = _of_products(equation.lowered), _of_products(equation.compiled)
    if kinds & {"depthwise", "grouped"} and after > _DENSE * before > 0:
        return "dense convolution"
    return _cause_of_compilation(equation) if after < before else "products"


def _cause_of_compilation(equation: EquationWork) -> str:
    before, after = numbers(equation.lowered), numbers(equation.compiled)
    if after <= before:
        return "removed work"
    if set(after) <= set(before):
        return "repeated work" if before <= after else "rewritten work"
    return "expanded functions" if is_function(equation) else "rewritten work"


def _dense(share: Share) -> Difference:
    equation = share.equation
    before, after = _of_products(equation.lowered), _of_products(equation.compiled)
    kind = next(part.counted.cost.kind for part in equation.parts if part.counted.cost)
    words = (
        f"{in_layer(equation.layer)}, XLA runs a {kind} convolution or its gradient as a dense one: "
        f"{after:,} FLOPs instead of {before:,}, {after / before:.1f} times as many"
    )
    return Difference(share.cause, share.flops, words, (equation.name,))
