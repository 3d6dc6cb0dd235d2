"""The table of implementations, and the only function that chooses among them."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args, overload

import jax

from jds.ops import native, shifted
from jds.ops._fused_block import FusedForm
from jds.ops._recognize import Form
from jds.ops._xla_speed import fast_in_xla

Implementation = Literal["xla", "shifted", "native"]


class _Entry(NamedTuple):
    """How to run an implementation, and what it does not support; `"xla"`, the previous lowering rule, has no entry."""

    run: Callable[..., jax.Array]
    unsupported: Callable[[Form], str | None]


# In order of preference, on platforms where XLA's convolution is not the default.
IMPLEMENTATIONS: dict[Implementation, _Entry] = {
    "native": _Entry(native.convolution, native.unsupported),
    "shifted": _Entry(shifted.convolution, shifted.unsupported),
}

# Implementations of fused blocks, called as `run(images, *operands, block=block)`. The alternative is `Unfused`.
FUSED_IMPLEMENTATIONS: dict[str, Callable[..., jax.Array]] = {"native": native.fused_block}

# Platforms on which XLA's own convolution was measured to be slower (`benchmarks/ops.py`).
_SLOW_PLATFORMS = ("cpu",)


class ImplementationChoice(NamedTuple):
    """An implementation, and why it was chosen.

    Example:
      >>> import jax, jds
      >>> shapes = jax.ShapeDtypeStruct((1, 56, 56, 8), "float32"), jax.ShapeDtypeStruct((3, 3, 8, 8), "float32")
      >>> jds.select_implementation(*shapes, platform="tpu").forward.implementation
      'xla'
    """

    implementation: Implementation
    reason: str


class Unfused(NamedTuple):
    """The choice not to fuse a block, and why; each of its convolutions then gets its own choice."""

    reason: str


class Target(NamedTuple):
    """The lowering target of a program.

    Attributes:
      platform: `"cpu"`, `"cuda"`, `"rocm"`, `"tpu"`, …, or several separated by commas for a multi-platform program.
      for_export: whether the program is exported, and may run where jds is not installed.
      is_partitioned: whether the compiler may partition the program across several devices.
      has_mesh: whether jds's CPU kernels can be partitioned across these devices.
    """

    platform: str
    for_export: bool = False
    is_partitioned: bool = False
    has_mesh: bool = False


@overload
def choose(operation: Form, target: Target, asked: Implementation | None = None) -> ImplementationChoice: ...
@overload
def choose(
    operation: FusedForm, target: Target, asked: Implementation | None = None
) -> ImplementationChoice | Unfused: ...
def choose(
    operation: Form | FusedForm, target: Target, asked: Implementation | None = None
) -> ImplementationChoice | Unfused:
    """Chooses the implementation of a convolution or of a fused block.

    Args:
      operation: the result of `recognize_equation`.
      target: the lowering target.
      asked: the implementation that the caller named, if any.

    Returns:
      The implementation and the reason, or, for a block, possibly `Unfused`.

    Raises:
      NotImplementedError: the caller named `"native"`, and the platform is not a CPU.
    """
    if isinstance(operation, FusedForm):
        return _choose_for_block(operation, target, asked)
    return _choose_for_convolution(operation, target, asked)


def _choose_for_convolution(form: Form, target: Target, asked: Implementation | None) -> ImplementationChoice:
    platform = target.platform
    if asked == "xla":
        return ImplementationChoice("xla", "named by `implementation`")
    if 0 in form.sizes("kernel"):
        return ImplementationChoice("xla", "the kernel is empty, which XLA rejects")
    if asked == "native" and platform != "cpu":
        raise NotImplementedError(f"`native` runs on CPUs only, not on {platform!r}; use implementation=None")
    if platform not in _SLOW_PLATFORMS and asked is None:
        return ImplementationChoice("xla", f"on {platform!r}, XLA's own convolution is the default")
    obstacles = {name: entry.unsupported(form) for name, entry in IMPLEMENTATIONS.items()}
    obstacles["native"] = _obstacle_to_native(form, target) or obstacles["native"]
    if asked and not obstacles[asked]:
        return ImplementationChoice(asked, "named by `implementation`")
    if platform not in _SLOW_PLATFORMS:
        return ImplementationChoice("xla", f"on {platform!r}, XLA's own convolution is the default")
    fast = None if asked else fast_in_xla(form)
    if fast:
        return ImplementationChoice("xla", fast)
    if form.kind == "grouped" and form.short != "output":
        return ImplementationChoice("xla", "grouped convolutions are left to XLA")
    if not obstacles["native"]:
        return ImplementationChoice("native", f"{form}: a CPU kernel is faster than XLA's convolution")
    if form.kind == "ordinary" or (form.kind == "grouped" and form.batch_groups == 1):
        return ImplementationChoice(
            "xla", f"XLA's convolution is as fast as matrix products (native unavailable: {obstacles['native']})"
        )
    if obstacles["shifted"]:
        return ImplementationChoice("xla", obstacles["shifted"])
    means = "a matrix product" if form.kind == "pointwise" else f"a sum of {form.terms} shifted products"
    return ImplementationChoice(
        "shifted", f"{form}: {means} is faster than XLA's convolution (native unavailable: {obstacles['native']})"
    )


def _choose_for_block(form: FusedForm, target: Target, asked: Implementation | None) -> ImplementationChoice | Unfused:
    if asked not in (None, "native"):
        return Unfused(f"`{asked}` was named, which runs the steps separately")
    if target.platform != "cpu":
        return Unfused(f"fused kernels run on CPUs only, not on {target.platform!r}")
    if target.for_export:
        return Unfused(_NO_EXPORT)
    if target.is_partitioned:
        return Unfused("the compiler partitions the program")
    obstacle = native.unsupported_block(form)
    if obstacle:
        return Unfused(obstacle)
    return ImplementationChoice("native", "fused: one CPU kernel runs the whole block")


_NO_EXPORT = "an exported program cannot call jds's CPU kernels"


def _obstacle_to_native(form: Form, target: Target) -> str | None:
    """Returns the reason why this program cannot call jds's CPU kernels for any equation, or None if it can."""
    if target.for_export:
        return _NO_EXPORT
    if not target.is_partitioned:
        return None
    if form.kind != "depthwise" and (form.kind != "grouped" or form.short != "output"):
        return "XLA partitions matrix products and ordinary convolutions itself"
    if not target.has_mesh:
        return "jds's CPU kernels cannot be partitioned across these devices"
    return None


def check_name(function: str, implementation: str | None) -> None:
    """Raises ValueError unless `implementation` is None or a known name."""
    names = get_args(Implementation)
    if implementation is not None and implementation not in names:
        raise ValueError(
            f"{function}: `implementation` must be None or one of {', '.join(map(repr, names))}, got {implementation!r}"
        )
