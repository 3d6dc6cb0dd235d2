"""Rules for random numbers from JAX's default generator; other generators have no rules."""

import math

import jax

from jds.cost._counts import Counts
from jds.cost.rules._table import Cost, Equation, register, size

# Threefry-2x32, https://www.thesalmons.org/john/random123/papers/random123sc11.pdf: 20 rounds on two
# words, each an addition, a rotation (two shifts and an or) and an exclusive or; 5 insertions of two key words and a
# counter; and two additions before the first round.
_BLOCK = 20 * 5 + 5 * 3 + 2
# Two exclusive ors compute the third word of each key.
_KEY = 2
# A shift and a mask turn a seed into a key.
_SEED = 2


def _threefry(blocks: int, keys: int, more: int = 0) -> Cost:
    return Cost("random", Counts(integer_operations=blocks * _BLOCK + keys * _KEY + more))


@register("threefry2x32")
def _threefry_block(equation: Equation) -> Cost:
    return _threefry(size(equation.outputs[0]), size(equation.inputs[0]))


def _is_threefry(aval) -> bool:
    return "fry" in str(aval.dtype)


@register("random_bits")
def _random_bits(equation: Equation) -> Cost | None:
    keys, out = equation.inputs[0], equation.outputs[0]
    if not _is_threefry(keys):
        return None
    bits = 8 * out.dtype.itemsize
    if jax.config.jax_threefry_partitionable:  # pyright: ignore[reportAttributeAccessIssue]
        # One block per number. An exclusive or joins its two words; for 64 bits, a shift and an or.
        return _threefry(size(out), size(keys), size(out) * (2 if bits == 64 else 1))
    words = math.ceil(math.prod(equation.params["shape"]) * bits / 32)
    return _threefry(size(keys) * math.ceil(words / 2), size(keys))


@register("random_split")
def _random_split(equation: Equation) -> Cost | None:
    keys, out = equation.inputs[0], equation.outputs[0]
    return _threefry(size(out), size(keys)) if _is_threefry(keys) else None


@register("random_fold_in")
def _random_fold_in(equation: Equation) -> Cost | None:
    keys, out = equation.inputs[0], equation.outputs[0]
    return _threefry(size(out), size(keys), size(out) * _SEED) if _is_threefry(keys) else None


@register("random_seed")
def _random_seed(equation: Equation) -> Cost | None:
    out = equation.outputs[0]
    return Cost("random", Counts(integer_operations=size(out) * _SEED)) if _is_threefry(out) else None


# Philox-4x32-10, from the same paper: 10 rounds, each with two products of double length (two operations each) and four
# exclusive ors, and two additions to the key before all rounds but the first.
_PHILOX = 10 * (2 * 2 + 4) + 9 * 2


@register("rng_bit_generator")
def _bit_generator(equation: Equation) -> Cost | None:
    bits = equation.outputs[-1]
    words = math.ceil(size(bits) * bits.dtype.itemsize / 4)
    # What the default algorithm is depends on the compiler.
    match getattr(equation.params["algorithm"], "name", ""):
        case "RNG_THREE_FRY":
            return _threefry(math.ceil(words / 2), 1)
        case "RNG_PHILOX":
            return Cost("random", Counts(integer_operations=math.ceil(words / 4) * _PHILOX))
    return None
