"""Explains why XLA's count of FLOPs differs from the count in theory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table

from jds._common.html import as_html
from jds._common.text import as_text
from jds._common.traceable import Traceable, as_traceable
from jds.cost._analyze import count
from jds.cost._grid import Heading, grid
from jds.cost._liveness import liveness
from jds.cost._program import Conventions
from jds.cost.hlo._compilation import to_compiled
from jds.cost.hlo._difference import Difference, largest_opcodes
from jds.cost.hlo._equations import equations, targets, total
from jds.cost.hlo._flops import Work
from jds.cost.hlo._lowering import to_lowered
from jds.cost.hlo._memory import MemoryDifference, memory_differences
from jds.cost.hlo._tags import mark
from jds.cost.hlo._view import XlaCounts, XlaMemory, read_counts, read_memory


class Reconciliation(NamedTuple):
    """The steps from FLOPs in theory to XLA's counts, lowered and compiled; prints as a table.

    Attributes:
      theory: FLOPs, including padding and all iterations of loops.
      lowered, compiled: XLA's counts; None if unknown.
      to_lowered, to_compiled: the causes, from theory to lowered and from lowered to compiled.
      unexplained_lowered, unexplained_compiled: what is not explained, in FLOPs; None if XLA's count is unknown.
      unnamed: opcodes of the compiled instructions that no equation can be found for, the most expensive first.
      foreign_calls: targets of foreign calls, which XLA counts as zero FLOPs.
      devices: number of devices that the compiled program runs on; its counts are per device.
      minimum_bytes: bytes of arguments and results, each counted once.
      lowered_bytes, compiled_bytes: XLA's counts of the bytes that all instructions read and write.
      liveness_bytes: peak memory by the liveness of the program's arrays, as in `Analysis.memory`.
      memory: the memory of the compiled program; None if unknown.
      to_memory: the causes of the difference between the two, with a `cause`, `bytes` and an `explanation`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> steps = cost.reconcile(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> steps.theory, steps.lowered, steps.unexplained_lowered
      (1024, 1024.0, 0.0)
      >>> print(steps)
      from theory to XLA                                             FLOPs
      ────────────────────────────────────────────────────────────────────
      in theory, with padding and all loop iterations                1,024
      lowered: as JAX passes it to XLA                               1,024
      compiled: as XLA runs it                                       1,024
      <BLANKLINE>
      bytes of arguments and results, each once                        896
      bytes that the lowered program's instructions read and write     896
      bytes that the compiled program's instructions read and write    896
      <BLANKLINE>
      bytes of memory, by the liveness of its arrays                   896
      bytes of memory, compiled                                        896
    """

    theory: int
    lowered: float | None
    compiled: float | None
    to_lowered: tuple[Difference, ...]
    to_compiled: tuple[Difference, ...]
    unexplained_lowered: float | None
    unexplained_compiled: float | None
    unnamed: tuple[str, ...]
    foreign_calls: tuple[str, ...]
    devices: int
    minimum_bytes: int
    lowered_bytes: float | None
    compiled_bytes: float | None
    liveness_bytes: int
    memory: XlaMemory | None
    to_memory: tuple[MemoryDifference, ...]

    def table(self, *, width: int | None = None) -> Table:
        """Returns the steps as a table, for Rich to print.

        Args:
          width: number of columns of the terminal; sentences are wrapped to fit. None for any number.
        """
        rows = [["in theory, with padding and all loop iterations", f"{self.theory:,}"]]
        for steps, rest, unnamed, name, flops in (
            (self.to_lowered, self.unexplained_lowered, (), "lowered: as JAX passes it to XLA", self.lowered),
            (self.to_compiled, self.unexplained_compiled, self.unnamed, "compiled: as XLA runs it", self.compiled),
        ):
            for step in steps:
                rows.append([f"  {step.cause}: {step.explanation}", f"{step.flops:+,}"])
            if rest:
                what = f": {', '.join(unnamed)} without a name" if unnamed else ""
                rows.append([f"  not explained{what}", f"{rest:+,.0f}"])
            rows.append([name, "unknown" if flops is None else f"{flops:,.0f}"])
        sizes = []
        for name, size in (
            ("bytes of arguments and results, each once", self.minimum_bytes),
            ("bytes that the lowered program's instructions read and write", self.lowered_bytes),
            ("bytes that the compiled program's instructions read and write", self.compiled_bytes),
        ):
            sizes.append([name, "unknown" if size is None else f"{size:,.0f}"])
        memory = [["bytes of memory, by the liveness of its arrays", f"{self.liveness_bytes:,}"]]
        for step in self.to_memory:
            memory.append([f"  {step.cause}: {step.explanation}", f"{step.bytes:+,}"])
        memory.append(["bytes of memory, compiled", "unknown" if self.memory is None else f"{self.memory.peak:,}"])
        headings = [Heading("from theory to XLA", is_number=False), Heading("FLOPs")]
        return grid(headings, rows, sizes, memory, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a dictionary that `json` can write."""
        steps = {
            name: [step._asdict() for step in getattr(self, name)]
            for name in ("to_lowered", "to_compiled", "to_memory")
        }
        return self._asdict() | steps | {"memory": self.memory and self.memory._asdict()}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self.table(width=options.max_width)

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self.table())


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
    marked = mark(program)
    compiled = marked.compiled
    texts = marked.lowered.as_text(dialect="hlo", debug_info=True) or "", compiled.as_text() or ""
    found = equations(counted, skipped, marked, *texts)
    before = _completed(read_counts(marked.lowered.cost_analysis(), found.lowered), found.lowered)
    after = _completed(read_counts(compiled.cost_analysis(), found.compiled), found.compiled)
    theory, memory = counted.total.flops, read_memory(compiled)
    rounded = _rounding_error(before.flops, found.lowered), _rounding_error(after.flops, found.compiled)
    steps_to_lowered = (*to_lowered(found), *_rounding(rounded[0]))
    steps_to_compiled = (*to_compiled(found), *_rounding(rounded[1] - rounded[0]))
    return Reconciliation(
        theory=theory,
        lowered=before.flops,
        compiled=after.flops,
        to_lowered=steps_to_lowered,
        to_compiled=steps_to_compiled,
        unexplained_lowered=_rest(theory, steps_to_lowered, before.flops),
        unexplained_compiled=_rest(before.flops, steps_to_compiled, after.flops),
        unnamed=largest_opcodes(found.unknown.compiled),
        foreign_calls=tuple(dict.fromkeys(targets(found.compiled))),
        devices=found.devices,
        minimum_bytes=counted.total.traffic,
        lowered_bytes=before.bytes,
        compiled_bytes=after.bytes,
        liveness_bytes=counted.memory.bytes,
        memory=memory,
        to_memory=tuple(memory_differences(liveness(counted._program), memory)) if memory else (),
    )


def _rounding(flops: int) -> Iterator[Difference]:
    if flops:
        yield Difference("rounding", flops, "XLA counts in float32, which is exact up to 16,777,216")


def _completed(counts: XlaCounts, instructions: Sequence[Work]) -> XlaCounts:
    """Returns XLA's counts, which leave out what is zero, with this zero, if the instructions confirm it."""
    is_zero = counts.flops is None and counts.bytes is not None and total(instructions) == 0
    return counts._replace(flops=0.0) if is_zero else counts


def _rest(start: int | float | None, steps: Iterable[Difference], end: int | float | None) -> float | None:
    return None if start is None or end is None else end - start - sum(step.flops for step in steps)


# A float32 has 24 bits.
_EXACT = 2**24


def _rounding_error(reported: float | None, instructions: Sequence[Work]) -> int:
    """Returns the difference between XLA's sum, in float32, and the exact sum; 0 if it is too large to be rounding."""
    if reported is None or reported < _EXACT:
        return 0
    error = round(reported) - total(instructions)
    return error if abs(error) <= len(instructions) * float(np.spacing(np.float32(reported))) / 2 else 0
