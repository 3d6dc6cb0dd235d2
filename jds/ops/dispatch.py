"""The table of implementations, and the one rule that selects among them."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax

from jds.ops import native, native_block, shifted
from jds.ops.block import Block
from jds.ops.recognise import Form
from jds.ops.xla_speed import fast_in_xla

Implementation = Literal["xla", "shifted", "native"]


class _Entry(NamedTuple):
    """How to run an implementation, and what it cannot do; lax's own lowering has none."""

    run: Callable[..., jax.Array]
    unsupported: Callable[[Form], str | None]


# In the order of preference, for platforms where XLA's own is not the default.
IMPLEMENTATIONS: dict[Implementation, _Entry] = {
    "native": _Entry(native.native, native.unsupported),
    "shifted": _Entry(shifted.shifted, shifted.unsupported),
}

BlockImplementation = Literal["composition", "native"]

# Of fused blocks, called as `run(images, *operands, block=block)`. `None`: the block's convolutions one by one, each by
# an implementation of its own.
BLOCK_IMPLEMENTATIONS: dict[BlockImplementation, Callable[..., jax.Array] | None] = {
    "composition": None,
    "native": native_block.native_block,
}

# Platforms where XLA's own convolution was measured to be slower (`benchmarks/ops.py`).
_SLOW_PLATFORMS = ("cpu",)


class Choice(NamedTuple):
    """An implementation, and why it was chosen.

    Example:
      >>> import jax, jds
      >>> shapes = jax.ShapeDtypeStruct((1, 56, 56, 8), "float32"), jax.ShapeDtypeStruct((3, 3, 8, 8), "float32")
      >>> jds.select_implementation(*shapes, platform="tpu").forward.implementation
      'xla'
    """

    implementation: Implementation
    reason: str


def choose(form: Form, platform: str, asked: Implementation | None = None, *, obstacle: str | None = None) -> Choice:
    """Selects the implementation of one convolution equation.

    Args:
      form: what `recognise` read off the equation.
      platform: the platform that the program is lowered for: `"cpu"`, `"cuda"`, `"rocm"`, `"tpu"`, ….
      asked: the implementation that was asked for by name, if any.
      obstacle: what in the program, beside the equation, keeps it from calling jds's CPU kernels, in words.

    Returns:
      The implementation and the reason, in words.

    Raises:
      NotImplementedError: `"native"` was asked for, and the platform is no CPU.
    """
    if asked == "xla":
        return Choice("xla", "asked for by name")
    if 0 in form.sizes("kernel"):
        return Choice("xla", "the kernel has no position, which XLA refuses")
    if asked == "native" and platform != "cpu":
        raise NotImplementedError(f"`native` runs on CPUs only, not on {platform!r}; use implementation=None")
    if platform not in _SLOW_PLATFORMS and asked is None:
        return Choice("xla", f"on {platform!r}, XLA's own convolution is the default")
    obstacles = {name: entry.unsupported(form) for name, entry in IMPLEMENTATIONS.items()}
    obstacles["native"] = obstacle or obstacles["native"]
    if asked and not obstacles[asked]:
        return Choice(asked, "asked for by name")
    if platform not in _SLOW_PLATFORMS:
        return Choice("xla", f"on {platform!r}, XLA's own convolution is the default")
    fast = None if asked else fast_in_xla(form)
    if fast:
        return Choice("xla", fast)
    if form.kind == "ordinary" and not asked and not obstacles["native"]:
        return Choice("native", f"an ordinary convolution of {form.in_features} features: a CPU kernel is faster")
    if form.kind == "ordinary" or (form.kind == "grouped" and form.short != "output"):
        return Choice("xla", f"{_article(form.kind)} {form.kind} convolution is left to XLA")
    if not obstacles["native"]:
        return Choice("native", f"{form}: a CPU kernel is faster than XLA's convolution")
    if form.kind == "grouped" and form.batch_groups == 1:
        return Choice("xla", f"XLA's convolution is as fast as matrix products (not native: {obstacles['native']})")
    if obstacles["shifted"]:
        return Choice("xla", obstacles["shifted"])
    means = "a matrix product" if form.kind == "pointwise" else f"a sum of {form.terms} shifted products"
    return Choice("shifted", f"{form}: {means} is faster than XLA's convolution (not native: {obstacles['native']})")


def choose_block(
    block: Block, avals: Sequence[Any], platform: str, *, for_export: bool, partitioned: bool
) -> BlockImplementation:
    """Selects the implementation of a fused block.

    Args:
      block: its steps, and the implementation that was asked for.
      avals: shapes and dtypes of its operands, in the block's order, every size an integer.
      platform: the platform that the program is lowered for.
      for_export: whether the program is to run elsewhere, perhaps without jds.
      partitioned: whether the compiler may cut the operands up for several devices.
    """
    if platform != "cpu" or for_export or partitioned or block.implementation not in (None, "native"):
        return "composition"
    return "composition" if native_block.unsupported(block, avals) else "native"


def check_name(function: str, implementation: str | None) -> None:
    """Raises ValueError unless `implementation` is None or the name of one."""
    names = get_args(Implementation)
    if implementation is not None and implementation not in names:
        raise ValueError(
            f"{function}: `implementation` must be None or one of {', '.join(map(repr, names))}, got {implementation!r}"
        )


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
