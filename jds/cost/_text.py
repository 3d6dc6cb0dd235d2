"""An analysis in the terminal."""

from rich import box
from rich.table import Table

from jds.cost._analysis import Analysis, By, Row
from jds.cost._devices import Bound, Estimate
from jds.cost.hlo._reconcile import Reconciliation


def table(analysis: Analysis, by: By = "layer") -> Table:
    """Shows what an analysis counted, row by row and in total.

    Args:
      analysis: of a program.
      by: what a row is.

    Returns:
      The table, for Rich to print in 80 columns or more.

    Example:
      >>> import jax, jax.numpy as jnp, rich
      >>> from jds import cost
      >>> args = jax.ShapeDtypeStruct((8, 16), "float32"), jnp.ones((16, 4))
      >>> found = cost.analyze(jnp.dot, *args, parameters=1)
      >>> rich.print(cost.table(found, "operation"))  # doctest: +NORMALIZE_WHITESPACE
      operation   mult-adds FLOPs params bytes in out FLOP/B
      ──────────────────────────────────────────────────────
      dot_general       512  1024     64      512 128    1.1
      <BLANKLINE>
      total             512  1024     64      512 128    1.1
    """
    rows, has_backward = analysis.by(by), any(analysis.total.backward)
    lines = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=0)
    lines.add_column(by, overflow="fold")
    for heading in (
        "mult-adds",
        *(["backward"] if has_backward else []),
        "FLOPs",
        "params",
        "bytes in",
        "out",
        "FLOP/B",
    ):
        lines.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        lines.add_row(*_cells(row, has_backward))
    lines.add_section()
    lines.add_row(*_cells(analysis.total, has_backward, "≥ " if analysis.is_lower_bound else ""))
    return lines


def notes(analysis: Analysis) -> list[str]:
    """Says how it was counted, and what is not known.

    Args:
      analysis: of a program.

    Returns:
      One paragraph each.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.notes(found)[0].split(",")[0]
      'mult-adds: multiply-accumulates'
    """
    padding = analysis.settings.padding
    found = [
        f"mult-adds: multiply-accumulates, those with padding {padding}. FLOPs: 2 for each mult-add, and element-wise "
        "work and reductions on floating-point numbers. Bytes: of activations, each array once; FLOP/B: to the least "
        "traffic, with each parameter read once.",
    ]
    ratio = analysis.backward_to_forward
    if ratio:
        found.append(f"The backward pass has {ratio:.2f} times the mult-adds of the forward pass.")
    counts = analysis.total.counts
    if counts.transcendentals or counts.integer_operations:
        found.append(
            f"Not in the FLOPs: {number(counts.transcendentals)} exponentials, roots and the like, and "
            f"{number(counts.integer_operations)} operations on integers."
        )
    one = analysis.total.per_device
    if one != counts:
        found.append(f"One device does {number(one.macs)} of the mult-adds and {number(one.flops)} of the FLOPs.")
    for choice in analysis.choices:
        costs = ", ".join(number(branch.flops) for branch in choice.branches)
        found.append(
            f"Conditional in {_place('/'.join(choice.path))}: branches of {costs} FLOPs; the most expensive counts."
        )
    if analysis.unknown_trips:
        places = ", ".join(map(_place, dict.fromkeys(analysis.unknown_trips)))
        how = "`trip_counts` (`--trip-counts`) gives their number"
        found.append(f"Lower bound: `while` in {places} is counted as one run; {how}.")
    if analysis.total.unknown:
        names = ", ".join(f"{name} ({times}×)" for name, times in analysis.total.unknown.items())
        found.append(f"Lower bound: no rule for {names}; `jds.cost.register` takes one.")
    if analysis.unused_parameters:
        found.append(f"{number(analysis.unused_parameters)} parameters are not used.")
    return found


def bounds(found: Estimate) -> Table:
    """Shows the least time of a program and of its rows on a device, and what was measured beside it.

    Args:
      found: the bounds.

    Returns:
      The table, for Rich to print in 80 columns or more.

    Example:
      >>> import jax.numpy as jnp, rich
      >>> from jds import cost
      >>> counted = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> peak = cost.Peak("made up", flops=1e6, bytes=1e6, source="")
      >>> rich.print(cost.bounds(cost.estimate(counted, peak, "operation")))  # doctest: +NORMALIZE_WHITESPACE
      At least, on made up
                                             µs at least  held by
      ────────────────────────────────────────────────────────────────
      dot_general                                   1024  arithmetic
      <BLANKLINE>
      total, with all in between on the chip        1024  arithmetic
    """
    is_measured = found.total.measured is not None
    lines = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0))
    lines.title, lines.title_justify, lines.title_style = f"At least, on {found.peak.name}", "left", "bold"
    for heading in ("", "µs at least", "held by", *(["µs measured", "share"] if is_measured else [])):
        is_number = heading not in ("", "held by")
        lines.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in found.rows:
        lines.add_row(*_bound_cells(row, row.name or "(no layer)", is_measured))
    lines.add_section()
    lines.add_row(*_bound_cells(found.total, "total, with all in between on the chip", is_measured))
    return lines


def _bound_cells(row: Bound, name: str, is_measured: bool) -> list[str]:
    cells = [name, micros(row.seconds), row.limit]
    if is_measured and row.measured is not None:
        cells += [micros(row.measured), share(row)]
    return cells


def micros(seconds: float) -> str:
    """Writes a time in microseconds, to four digits or in full."""
    return f"{seconds * 1e6:.4g}" if seconds < 1e-2 else f"{seconds * 1e6:,.0f}"


def share(row: Bound) -> str:
    """The share of the bound in the measured time, as tables show it; empty where nothing was measured."""
    if row.share is None:
        return ""
    return f"{row.share:.2f}" if row.share <= 1 else "> 1"


def bound_notes(found: Estimate) -> list[str]:
    """Says what the bounds rest on.

    Args:
      found: the bounds.

    Returns:
      One paragraph each.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.bound_notes(cost.estimate(found, cost.Peak("made up", flops=1e9, bytes=2e9, source="its maker")))
      ['1 GFLOP/s, 2 GB/s: its maker.']
    """
    peak = found.peak
    notes = [f"{peak.flops / 1e9:.4g} GFLOP/s, {peak.bytes / 1e9:.4g} GB/s: {peak.source}."]
    if found.total.measured is not None:
        notes.append(
            "Measured: medians; of layers, the time in their instructions, threads added. Share: of that time what the "
            "bound says. It is above 1 where arrays stay in a cache or XLA has fused a layer's work into another's "
            "instruction, and a layer without a time has no instruction of its own."
        )
    return notes


def reconciliation(found: Reconciliation) -> Table:
    """Shows the steps from FLOPs on paper to XLA's counts of the lowered and of the compiled program.

    Args:
      found: the steps, as `jds.cost.reconcile` gives them.

    Returns:
      The table, for Rich to print in 80 columns or more.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> import rich
      >>> steps = cost.reconcile(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> rich.print(cost.reconciliation(steps))  # doctest: +NORMALIZE_WHITESPACE
      from paper to XLA                                                  FLOPs
      ─────────────────────────────────────────────────────────────────────────
      on paper, with padding and all runs of loops                       1,024
      lowered: as JAX hands it to XLA                                    1,024
      compiled: as XLA runs it                                           1,024
      <BLANKLINE>
      bytes of arguments and results, each once                            896
      bytes that the instructions of the lowered program read and write    896
      bytes that those of the compiled program read and write              896
    """
    lines = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0))
    lines.add_column("from paper to XLA", overflow="fold")
    lines.add_column("FLOPs", justify="right", no_wrap=True)
    lines.add_row("on paper, with padding and all runs of loops", f"{found.paper:,}")
    for steps, rest, name, count in (
        (found.to_lowered, found.unexplained_lowered, "lowered: as JAX hands it to XLA", found.lowered),
        (found.to_compiled, found.unexplained_compiled, "compiled: as XLA runs it", found.compiled),
    ):
        for step in steps:
            lines.add_row(f"  {step.cause}: {step.words}", f"{step.flops:+,}")
        if rest:
            lines.add_row("  unexplained", f"{rest:+,.0f}")
        lines.add_row(name, "unknown" if count is None else f"{count:,.0f}")
    lines.add_section()
    for name, count in (
        ("bytes of arguments and results, each once", found.least_bytes),
        ("bytes that the instructions of the lowered program read and write", found.lowered_bytes),
        ("bytes that those of the compiled program read and write", found.compiled_bytes),
    ):
        lines.add_row(name, "unknown" if count is None else f"{count:,.0f}")
    return lines


def number(count: int) -> str:
    """Writes a count: in full below 100,000, else in units of 1000 to four digits.

    Example:
      >>> from jds.cost import _text
      >>> _text.number(2160), _text.number(568_740_352)
      ('2160', '568.7M')
    """
    if count < 100_000:
        return str(count)
    value, units = count / 1000, "kMGTPE"
    while value >= 999.95 and len(units) > 1:
        value, units = value / 1000, units[1:]
    unit = units[0]
    return f"{value:.{sum(value < limit for limit in (100, 1000))}f}{unit}"


def _cells(row: Row, has_backward: bool, bound: str = "") -> list[str]:
    counts = [row.macs, *([row.backward.macs] if has_backward else []), row.flops]
    sizes = [row.parameters, row.bytes_in, row.bytes_out]
    mark = "≥ " if row.is_lower_bound else bound
    return [
        row.name or "(no layer)",
        *(mark + number(count) for count in counts),
        *map(number, sizes),
        f"{row.intensity:.1f}",
    ]


def _place(path: str) -> str:
    return path or "no layer"
