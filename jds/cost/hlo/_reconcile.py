"""Explains why XLA's count of FLOPs differs from the count in theory."""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from rich import box
from rich.console import RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import as_text
from jds._common.traceable import Traceable, as_traceable
from jds.cost._analysis import Analysis
from jds.cost._analyze import count
from jds.cost._counts import Counts
from jds.cost._program import Conventions, Operation
from jds.cost.hlo._view import XlaInstruction, XlaView, xla

# A layer with more than this many times the theoretical products uses another algorithm.
_DENSE = 1.5


class Difference(NamedTuple):
    """One cause of a difference.

    Attributes:
      cause: for the lowered program `"padding"`, `"loops counted once"`, `"devices"`, `"foreign code"`,
        `"integers"`, `"sorts"`, `"loop counters"` or `"multiplications by one"`; for the compiled program
        `"devices"`, `"dense convolution"`, `"products"`, `"simplified work"` or `"added work"`;
        for either `"rounding"`.
      flops: FLOPs that it adds; negative if it removes work.
      explanation: the cause in a sentence.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> steps = cost.reconcile(jnp.add, jnp.ones(8, int), jnp.ones(8, int))
      >>> [(step.cause, step.flops) for step in steps.to_lowered]
      [('integers', 8)]
    """

    cause: str
    flops: int
    explanation: str


class Reconciliation(NamedTuple):
    """The steps from FLOPs in theory to XLA's counts, lowered and compiled; prints as a table.

    Attributes:
      theory: FLOPs, including padding and all iterations of loops.
      lowered, compiled: XLA's counts; None if unknown.
      to_lowered, to_compiled: the causes, from theory to lowered and from lowered to compiled.
      unexplained_lowered, unexplained_compiled: the unexplained differences, in FLOPs; None if XLA's count is unknown.
      foreign_calls: targets of foreign calls, which XLA counts as zero FLOPs.
      devices: number of devices that the compiled program runs on; its counts are per device.
      minimum_bytes: bytes of arguments and results, each counted once.
      lowered_bytes, compiled_bytes: XLA's counts of the bytes that all instructions read and write.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> steps = cost.reconcile(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> steps.theory, steps.lowered, steps.unexplained_lowered
      (1024, 1024.0, 0.0)
      >>> print(steps)
      from theory to XLA                                             FLOPs
      ─────────────────────────────────────────────────────────────────────
      in theory, with padding and all loop iterations                1,024
      lowered: as JAX passes it to XLA                               1,024
      compiled: as XLA runs it                                       1,024
      <BLANKLINE>
      bytes of arguments and results, each once                        896
      bytes that the lowered program's instructions read and write     896
      bytes that the compiled program's instructions read and write    896
    """

    theory: int
    lowered: float | None
    compiled: float | None
    to_lowered: tuple[Difference, ...]
    to_compiled: tuple[Difference, ...]
    unexplained_lowered: float | None
    unexplained_compiled: float | None
    foreign_calls: tuple[str, ...]
    devices: int
    minimum_bytes: int
    lowered_bytes: float | None
    compiled_bytes: float | None

    def table(self) -> Table:
        """Returns the steps as a table, for Rich to print in 80 columns or more."""
        lines = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0))
        lines.add_column("from theory to XLA", overflow="fold")
        lines.add_column("FLOPs", justify="right", no_wrap=True)
        lines.add_row("in theory, with padding and all loop iterations", f"{self.theory:,}")
        for steps, rest, name, flops in (
            (self.to_lowered, self.unexplained_lowered, "lowered: as JAX passes it to XLA", self.lowered),
            (self.to_compiled, self.unexplained_compiled, "compiled: as XLA runs it", self.compiled),
        ):
            for step in steps:
                lines.add_row(f"  {step.cause}: {step.explanation}", f"{step.flops:+,}")
            if rest:
                lines.add_row("  unexplained", f"{rest:+,.0f}")
            lines.add_row(name, "unknown" if flops is None else f"{flops:,.0f}")
        lines.add_section()
        for name, size in (
            ("bytes of arguments and results, each once", self.minimum_bytes),
            ("bytes that the lowered program's instructions read and write", self.lowered_bytes),
            ("bytes that the compiled program's instructions read and write", self.compiled_bytes),
        ):
            lines.add_row(name, "unknown" if size is None else f"{size:,.0f}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write."""
        steps = {name: [step._asdict() for step in getattr(self, name)] for name in ("to_lowered", "to_compiled")}
        return self._asdict() | steps

    def __rich__(self) -> RenderableType:
        return self.table()

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def reconcile(
    fun: Callable[..., Any] | Traceable,
    *args: Any,
    trip_counts: int | Mapping[str, int] | None = None,
    **kwargs: Any,
) -> Reconciliation:
    """Explains the difference between FLOPs in theory and XLA's counts, before and after compilation.

    Args:
      fun: a function, jitted or not, or an NNX module.
      *args: its arguments, as in `analyze`; the program is compiled but not run.
      trip_counts: number of iterations of `while` loops, as in `analyze`.
      **kwargs: its keyword arguments, like `args`.

    Returns:
      The differences, each with its cause, and any unexplained remainder.

    Raises:
      ValueError, TypeError: the function cannot be traced with these arguments.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jds import cost
      >>> steps = cost.reconcile(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y @ y, x), jnp.ones((8, 8)))
      >>> steps.theory, steps.lowered, [(step.cause, step.flops) for step in steps.to_lowered]
      (3072, 1026.0, [('loops counted once', -2048), ('loop counters', 2)])
    """
    program = as_traceable(fun, args, kwargs)
    platform = jax.default_backend()
    counted, skipped = (count(program, Conventions(padding, platform, trip_counts)) for padding in (True, False))
    view = xla(program)
    theory, lowered, compiled = counted.total.flops, view.lowered.flops, view.compiled.flops
    to_lowered = list(_to_lowered(counted, skipped, view))
    to_lowered += _of_the_rest(theory, to_lowered, lowered, view.lowered_instructions, _by_one(skipped))
    to_compiled = list(_to_compiled(skipped, view))
    to_compiled += _of_the_rest(lowered, to_compiled, compiled, view.instructions)
    return Reconciliation(
        theory=theory,
        lowered=lowered,
        compiled=compiled,
        to_lowered=tuple(to_lowered),
        to_compiled=tuple(to_compiled),
        unexplained_lowered=_rest(theory, to_lowered, lowered),
        unexplained_compiled=_rest(lowered, to_compiled, compiled),
        foreign_calls=view.foreign_calls,
        devices=view.devices,
        minimum_bytes=counted.total.traffic,
        lowered_bytes=view.lowered.bytes,
        compiled_bytes=view.compiled.bytes,
    )


def _rest(start: int | float | None, steps: Iterable[Difference], end: int | float | None) -> float | None:
    return None if start is None or end is None else end - start - sum(step.flops for step in steps)


def _of_the_rest(
    start: int | float | None,
    steps: Iterable[Difference],
    end: int | float | None,
    instructions: Sequence[XlaInstruction],
    by_one: int = 0,
) -> Iterator[Difference]:
    """Yields causes that are not visible in the program, each only if it explains the whole remainder."""
    rest = _rest(start, steps, end)
    if not rest or end is None:
        return
    if rest == by_one:
        yield Difference("multiplications by one", by_one, "XLA drops them before it counts")
    elif end >= _EXACT and abs(rest) <= len(instructions) * float(np.spacing(np.float32(end))) / 2:
        yield Difference("rounding", round(rest), "XLA counts in float32, which is exact up to 16,777,216")


# A float32 has 24 bits.
_EXACT = 2**24


def _by_one(analysis: Analysis) -> int:
    return -sum(o.cost.counts.flops for o in analysis.operations if o.is_by_one and o.cost)


def _to_lowered(counted: Analysis, skipped: Analysis, view: XlaView) -> Iterator[Difference]:
    padding = skipped.total.flops - counted.total.flops
    if padding:
        yield Difference("padding", padding, "XLA does not count products with padding")
    once = _sum(skipped.operations, lambda operation: 1)
    on_all_devices = _sum(skipped.operations, lambda operation: operation.devices)
    loops = on_all_devices.flops - skipped.total.flops
    if loops:
        yield Difference(
            "loops counted once", loops, "XLA counts the body of a loop once, regardless of the number of iterations"
        )
    devices = once.flops - on_all_devices.flops
    if devices:
        yield Difference("devices", devices, "XLA counts only one device's share of manually split work")
    if view.foreign_calls:
        products = sum(2 * o.cost.counts.macs for o in skipped.operations if o.cost)
        missing = sum(i.product_flops for i in view.lowered_instructions) - products
        yield Difference("foreign code", missing, f"XLA counts nothing for {', '.join(view.foreign_calls)}")
    if once.integer_operations:
        words = "XLA also counts operations on integers and booleans"
        yield Difference("integers", once.integer_operations, words)
    sorts = sum(i.flops or 0 for i in view.lowered_instructions if i.operation == "sort")
    sorts -= sum(
        o.cost.counts.flops + o.cost.counts.integer_operations
        for o in skipped.operations
        if o.cost and o.name == "sort"
    )
    if sorts:
        yield Difference(
            "sorts", sorts, "XLA uses the logarithm of the array's size, not of the length of the sorted axis"
        )
    counters = sum(i.flops or 0 for i in view.lowered_instructions if _is_counter(i)) if loops else 0
    if counters:
        yield Difference("loop counters", counters, "XLA counts loop counters and their index arithmetic")


def _sum(operations: Iterable[Operation], times: Callable[[Operation], int]) -> Counts:
    """Sums the counts as if each operation ran `times(operation)` times."""
    return sum((o.cost.counts * times(o) for o in operations if o.cost), Counts())


def _is_counter(instruction: XlaInstruction) -> bool:
    return instruction.in_loop and instruction.shape in ("s32[]", "pred[]", "u32[]", "s64[]")


def _to_compiled(skipped: Analysis, view: XlaView) -> Iterator[Difference]:
    before, after = _by_opcode(view.lowered_instructions), _by_opcode(view.instructions)
    split = _split(skipped, view, before)
    if any(split.values()):
        words = f"XLA splits the work across {view.devices} devices"
        yield Difference("devices", sum(split.values()), words)
    before = before + split
    explained = 0
    for difference in _dense(skipped, view):
        explained += difference.flops
        yield difference
    products = sum(after[opcode] - before[opcode] for opcode in _PRODUCTS) - explained
    if products:
        yield Difference(
            "products", products, "XLA computes different products, or computes the same products more or less often"
        )
    changes = {name: after[name] - before[name] for name in sorted({*before, *after} - {*_PRODUCTS})}
    less, more = _listed(changes, -1), _listed(changes, 1)
    if less:
        yield Difference("simplified work", less[0], f"XLA has less of {less[1]}")
    if more:
        yield Difference(
            "added work", more[0], f"XLA has more of {more[1]}: instead of other work, or repeated in several fusions"
        )


_PRODUCTS = ("dot", "convolution")


class _Totals(collections.Counter[str]):
    """FLOPs by opcode, which may be negative."""

    def __add__(self, other: "_Totals") -> "_Totals":  # type: ignore[override]
        return _Totals({name: self[name] + other[name] for name in {*self, *other}})


def _by_opcode(instructions: Iterable[XlaInstruction]) -> _Totals:
    found = _Totals()
    for instruction in instructions:
        found.update(instruction.parts)
    return found


def _split(skipped: Analysis, view: XlaView, before: _Totals) -> _Totals:
    """Returns the work that XLA removes from each device by partitioning, not counting work split by the program."""
    if view.devices == 1:
        return _Totals()
    by_hand = sum(o.cost.counts.flops for o in skipped.operations if o.cost and o.devices > 1)
    whole = sum(o.cost.counts.flops for o in skipped.operations if o.cost)
    share = 1 - by_hand / whole if whole else 0
    return _Totals({name: -round(share * flops * (1 - 1 / view.devices)) for name, flops in before.items()})


def _dense(skipped: Analysis, view: XlaView) -> Iterator[Difference]:
    of_layer: collections.Counter[str] = collections.Counter()
    for instruction in view.instructions:
        of_layer[instruction.layer] += instruction.product_flops
    in_theory: collections.Counter[str] = collections.Counter()
    kinds: dict[str, str] = {}
    for operation in skipped.operations:
        if operation.cost and operation.cost.counts.macs:
            layer = "/".join(operation.path)
            in_theory[layer] += operation.cost.counts.flops
            kinds.setdefault(layer, operation.cost.kind)
    for layer, flops in of_layer.items():
        if in_theory[layer] and flops > _DENSE * in_theory[layer] and kinds[layer] in ("depthwise", "grouped"):
            yield Difference(
                "dense convolution",
                flops - in_theory[layer],
                f"in {layer or 'no layer'}, XLA runs a {kinds[layer]} convolution or its gradient as a dense one: "
                f"{flops:,} FLOPs instead of {in_theory[layer]:,}, {flops / in_theory[layer]:.1f} times as many",
            )


def _listed(changes: Mapping[str, int], sign: int) -> tuple[int, str] | None:
    """Returns the sum of the changes with this sign, and the names of the largest ones."""
    found = {name: change for name, change in changes.items() if change * sign > 0}
    largest = sorted(found, key=lambda name: -abs(found[name]))[:3]
    return (sum(found.values()), ", ".join(largest)) if found else None
