"""The table of implementations, and the one rule that selects among them."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jds.ops.recognise import Form
from jds.ops.shifted import MAX_TERMS, shifted

Implementation = Literal["xla", "shifted"]

# `None`: lax's own lowering is left alone.
IMPLEMENTATIONS: dict[Implementation, Callable[..., jax.Array] | None] = {"xla": None, "shifted": shifted}

# Platforms where XLA's own convolution was measured to be slower (`benchmarks/ops.py`).
_SLOW_PLATFORMS = ("cpu",)
# Of a single channel, grouped or not, XLA runs long filters well enough.
_MAX_TERMS_OF_ONE_CHANNEL = 64


class Choice(NamedTuple):
    """An implementation, and why it was chosen."""

    implementation: Implementation
    reason: str


def choose(form: Form, platform: str, asked: Implementation | None = None) -> Choice:
    """Selects the implementation of one convolution equation.

    Args:
      form: what `recognise` read off the equation.
      platform: the platform that the program is lowered for: `"cpu"`, `"cuda"`, `"rocm"`, `"tpu"`, ….
      asked: the implementation that was asked for by name, if any.

    Returns:
      The implementation and the reason, in words.
    """
    if asked == "xla":
        return Choice("xla", "asked for by name")
    obstacle = unsupported(form)
    if asked == "shifted" and not obstacle:
        return Choice("shifted", "asked for by name")
    if platform not in _SLOW_PLATFORMS:
        return Choice("xla", f"on {platform!r}, XLA's own convolution is the default")
    if form.kind == "ordinary" or (form.kind == "grouped" and not _is_small_kernel_gradient(form)):
        return Choice("xla", f"{_article(form.kind)} {form.kind} convolution is left to XLA")
    if form.groups == 1 and form.kind == "depthwise" and form.terms > _MAX_TERMS_OF_ONE_CHANNEL:
        return Choice("xla", f"XLA's convolution of one channel is not slower with {form.terms} terms")
    if obstacle:
        return Choice("xla", obstacle)
    means = "a matrix product" if form.kind == "pointwise" else f"a sum of {form.terms} shifted products"
    return Choice("shifted", f"{form}: {means} is faster than XLA's convolution on {platform!r}")


def unsupported(form: Form) -> str | None:
    """Says in words why `"shifted"` cannot compute this equation; None if it can."""
    if form.dtype not in map(jnp.dtype, (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)):
        return f"`shifted` computes float16, bfloat16, float32 and float64, not {form.dtype.name}"
    if not jnp.issubdtype(form.out_dtype, jnp.floating):
        return f"`shifted` computes floating-point results, not {form.out_dtype.name}"
    if form.kind == "ordinary" and min(form.short_features) > 1:
        return "`shifted` computes depthwise, pointwise and grouped convolutions, and this one is ordinary"
    if form.terms > MAX_TERMS:
        return f"`shifted` writes out at most {MAX_TERMS} terms, and this convolution has {form.terms}"
    return None


def check_name(function: str, implementation: str | None) -> None:
    """Raises ValueError unless `implementation` is None or the name of one."""
    names = get_args(Implementation)
    if implementation is not None and implementation not in names:
        raise ValueError(
            f"{function}: `implementation` must be None or one of {', '.join(map(repr, names))}, got {implementation!r}"
        )


def _is_small_kernel_gradient(form: Form) -> bool:
    """Of groups so small that XLA's way, a dense convolution that is then masked, was measured to be far slower."""
    return form.short == "output" and math.prod(form.short_features) <= 16


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
