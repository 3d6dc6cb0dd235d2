"""Why XLA counts another number of FLOPs than paper does."""

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from jds.cost.analysis import Analysis
from jds.cost.analyze import analyze
from jds.cost.counts import Counts
from jds.cost.xla_view import XlaInstruction, XlaView, xla

# So many times the products that paper has in a layer are no rounding, but another algorithm.
_DENSE = 1.5


class Difference(NamedTuple):
    """One cause of a difference.

    Attributes:
      cause: `"padding"`, `"loops counted once"`, `"integers"`, `"loop counters"`, `"dense convolution"`,
        `"sorts"`, `"foreign code"`, `"element-wise work"` or `"products"`.
      flops: how much it adds, or takes away.
      words: the same for people.
    """

    cause: str
    flops: int
    words: str


class Reconciliation(NamedTuple):
    """The steps from FLOPs on paper to those of the lowered and of the compiled program.

    Attributes:
      paper: FLOPs with padding and all runs of loops.
      lowered, compiled: XLA's counts; None where XLA does not say.
      to_lowered, to_compiled: the causes, from paper to lowered and from there to compiled.
      unexplained_lowered, unexplained_compiled: what remains of the differences, in FLOPs; None where XLA does not say.
      foreign_calls: targets of foreign code that runs and that XLA counts as nothing.
    """

    paper: int
    lowered: float | None
    compiled: float | None
    to_lowered: tuple[Difference, ...]
    to_compiled: tuple[Difference, ...]
    unexplained_lowered: float | None
    unexplained_compiled: float | None
    foreign_calls: tuple[str, ...]


def reconcile(
    fun: Callable[..., Any], *args: Any, trip_counts: int | Mapping[str, int] | None = None, **kwargs: Any
) -> Reconciliation:
    """Explains the difference between FLOPs on paper and XLA's counts, before and after compilation.

    Args:
      fun: a function, jitted or not, or an NNX module.
      *args: its arguments, as for `analyze`; the program is compiled, and not run.
      trip_counts: how often `while` loops run, as for `analyze`.
      **kwargs: its keyword arguments, as `args`.

    Returns:
      The differences, each with its cause, and what cannot be explained.

    Raises:
      ValueError, TypeError: the function cannot be traced with these arguments.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jds import cost
      >>> steps = cost.reconcile(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y @ y, x), jnp.ones((8, 8)))
      >>> steps.paper, steps.lowered, [(step.cause, step.flops) for step in steps.to_lowered]
      (3072, 1026.0, [('loops counted once', -2048), ('loop counters', 2)])
    """
    counted = analyze(fun, *args, padding="counted", trip_counts=trip_counts, **kwargs)
    skipped = analyze(fun, *args, padding="skipped", trip_counts=trip_counts, **kwargs)
    view = xla(fun, *args, **kwargs)
    to_lowered = tuple(_to_lowered(counted, skipped, view))
    to_compiled = tuple(_to_compiled(skipped, view))
    paper, lowered, compiled = counted.total.flops, view.lowered.flops, view.compiled.flops
    explained = paper + sum(step.flops for step in to_lowered)
    both = None if lowered is None else lowered + sum(step.flops for step in to_compiled)
    return Reconciliation(
        paper,
        lowered,
        compiled,
        to_lowered,
        to_compiled,
        None if lowered is None else lowered - explained,
        None if compiled is None or both is None else compiled - both,
        view.foreign_calls,
    )


def _to_lowered(counted: Analysis, skipped: Analysis, view: XlaView) -> Iterable[Difference]:
    once = _once(skipped)
    padding = skipped.total.flops - counted.total.flops
    if padding:
        yield Difference("padding", padding, "XLA leaves out products with padding")
    loops = once.flops - skipped.total.flops
    if loops:
        yield Difference("loops counted once", loops, "XLA counts the body of a loop once, however often it runs")
    integers = once.integer_operations
    if view.foreign_calls:
        products = sum(2 * o.cost.counts.macs for o in skipped.operations if o.cost)
        missing = sum(i.product_flops for i in view.lowered_instructions) - products
        yield Difference("foreign code", missing, f"XLA counts nothing for {', '.join(view.foreign_calls)}")
    if integers:
        yield Difference("integers", integers, "XLA counts operations on integers and booleans, too")
    sorts = sum(i.flops or 0 for i in view.lowered_instructions if i.operation == "sort")
    sorts -= sum(
        o.cost.counts.flops + o.cost.counts.integer_operations
        for o in skipped.operations
        if o.cost and o.name == "sort"
    )
    if sorts:
        yield Difference("sorts", sorts, "XLA takes the logarithm of an array's size, not of what is sorted together")
    counters = sum(i.flops or 0 for i in view.lowered_instructions if _is_counter(i)) if loops else 0
    if counters:
        yield Difference("loop counters", counters, "XLA counts how far a loop has come, and where it reads and writes")


def _once(analysis: Analysis) -> Counts:
    """Every equation as if it ran once."""
    costs = [operation.cost for operation in analysis.operations if operation.cost]
    return sum((cost.counts for cost in costs), Counts())


def _is_counter(instruction: XlaInstruction) -> bool:
    return instruction.in_loop and instruction.shape in ("s32[]", "pred[]", "u32[]", "s64[]")


def _to_compiled(paper: Analysis, view: XlaView) -> Iterable[Difference]:
    before = sum(i.product_flops for i in view.lowered_instructions)
    after = sum(i.product_flops for i in view.instructions)
    of_layer: collections.Counter[str] = collections.Counter()
    for instruction in view.instructions:
        of_layer[instruction.layer] += instruction.product_flops
    on_paper: collections.Counter[str] = collections.Counter()
    kinds: dict[str, str] = {}
    for operation in paper.operations:
        if operation.cost and operation.cost.counts.macs:
            layer = "/".join(operation.path)
            on_paper[layer] += operation.cost.counts.flops
            kinds.setdefault(layer, operation.cost.kind)
    explained = 0
    for layer, flops in of_layer.items():
        if on_paper[layer] and flops > _DENSE * on_paper[layer] and kinds[layer] in ("depthwise", "grouped"):
            explained += flops - on_paper[layer]
            yield Difference(
                "dense convolution",
                flops - on_paper[layer],
                f"in {layer or 'no layer'}, XLA runs a {kinds[layer]} convolution or its gradient as a dense one: "
                f"{flops:,} FLOPs instead of {on_paper[layer]:,}, {flops / on_paper[layer]:.1f} times as many",
            )
    if after - before - explained:
        words = "XLA computes other products, or the same ones more or less often"
        yield Difference("products", after - before - explained, words)
    element_wise = _element_wise(view.instructions) - _element_wise(view.lowered_instructions)
    if element_wise:
        words = "XLA simplifies element-wise work, and does some of it again in each fusion that needs it"
        yield Difference("element-wise work", element_wise, words)


def _element_wise(instructions: Iterable[XlaInstruction]) -> int:
    return sum((i.flops or 0) - i.product_flops for i in instructions)
