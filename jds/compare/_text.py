"""A comparison as terminal output: the arithmetic step by step, the tables, and notes."""

import statistics
from collections.abc import Sequence
from fractions import Fraction

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jds.compare._measure import FORMS, Comparison, XlaFlops
from jds.cost import Layer, Multiplications, Spread


def describe(layer: Layer) -> str:
    """Describes a layer's sizes in words.

    Args:
      layer: its sizes.

    Returns:
      One line.

    Example:
      >>> from jds import cost
      >>> from jds.compare import _text
      >>> _text.describe(cost.Layer("example", (14, 14, 512), 512, (3, 3), strides=2))
      '14×14×512 input, 512 filters of 3×3, strides 2, padding SAME'
    """
    words = [f"{_by(layer.input_size)} input", f"{layer.out_features} filters of {_by(layer.kernel_size)}"]
    for name in ("strides", "kernel_dilation", "channel_multiplier"):
        value = _unless_one(getattr(layer, name))
        if value:
            words.append(f"{name.replace('_', ' ')} {value}")
    padding = layer.padding if isinstance(layer.padding, str) else _by([low for low, _ in layer.padding])
    return ", ".join([*words, f"padding {padding}"])


def arithmetic(layer: Layer, *, batch: int = 1) -> RenderableType:
    """Walks through the arithmetic of a separable layer, as filter parameters × filter positions × filters.

    Args:
      layer: its sizes.
      batch: number of examples.

    Returns:
      The text as a Rich renderable.

    Example:
      >>> import rich
      >>> from jds import cost
      >>> from jds.compare import _text
      >>> rich.print(_text.arithmetic(cost.Layer("example", (6, 6, 3), 5, (3, 3), padding="VALID")))
      6×6×3 input, 5 filters of 3×3, padding VALID: 4×4×5 output
      <BLANKLINE>
                filter parameters × filter positions × filters = multiplications
      ordinary         3·3·3 = 27 ×         4·4 = 16 ×       5 =            2160
      depthwise           3·3 = 9 ×         4·4 = 16 ×       3 =             432
      pointwise                 3 ×         4·4 = 16 ×       5 =             240
      <BLANKLINE>
      separable: 432 + 240 = 672
      ratio: 672 / 2160 = 0.311 = 1/5 + 1/3²
    """
    (ordinary,), (depthwise, pointwise) = layer.ordinary_steps(batch), layer.separable_steps(batch)
    positions = (*([batch] if batch > 1 else []), *layer.output_size[:-1])
    between = (layer.in_features, *([layer.channel_multiplier] if layer.channel_multiplier > 1 else []))
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    for _ in range(8):
        table.add_column(justify="right", no_wrap=True)
    table.columns[0].justify = "left"
    table.add_row("", "filter parameters", "×", "filter positions", "×", "filters", "=", "multiplications")
    for step, parameters, filters in (
        (ordinary, (*layer.kernel_size, layer.in_features), (layer.out_features,)),
        (depthwise, layer.kernel_size, between),
        (pointwise, between, (layer.out_features,)),
    ):
        factors = (parameters, step.parameters), (positions, step.positions), (filters, step.filters)
        cells = [_product(*factor) for factor in factors]
        table.add_row(step.name, cells[0], "×", cells[1], "×", cells[2], "=", _number(step.multiplications))
    separable = depthwise.multiplications + pointwise.multiplications
    conclusion = Text(
        f"separable: {_number(depthwise.multiplications)} + {_number(pointwise.multiplications)} = {_number(separable)}"
        f"\nratio: {_number(separable)} / {_number(ordinary.multiplications)} = {float(layer.ratio):.3f} = "
        f"{_closed_form(layer)}"
    )
    examples = f", in a batch of {batch}" if batch > 1 else ""
    heading = Text(f"{describe(layer)}: {_by(layer.output_size)} output{examples}", style="bold")
    return Group(heading, "", table, "", conclusion)


def counts_table(comparison: Comparison) -> Table:
    """Tabulates multiplications and XLA's counts of FLOPs, for each layer and in total.

    Args:
      comparison: counts and times.

    Returns:
      The table, for Rich to print in 80 columns or more.
    """
    counts = [(row.layer.name, row.multiplications, row.flops["ordinary"], row.flops["jds"]) for row in comparison.rows]
    total = ("total", comparison.multiplications, comparison.flops("ordinary"), comparison.flops("jds"))
    millions = total[1].ordinary >= 1_000_000
    table = _table(
        f"In theory, and FLOPs as XLA counts them{' (millions)' if millions else ''}",
        ("layer", "ordinary\nmult-adds", "separable\nmult-adds", "ratio",
         "ordinary\nlowered", "ordinary\ncompiled", "separable\nlowered", "separable\ncompiled"),
    )  # fmt: skip

    def add(name: str, multiplications: Multiplications, *flops: XlaFlops) -> None:
        numbers = [count for both in (multiplications, *flops) for count in both]
        cells = [_count(number, millions) for number in numbers]
        table.add_row(name, *cells[:2], _ratio(multiplications.ratio), *cells[2:])

    for count in counts:
        add(*count)
    if len(counts) > 1:
        table.add_section()
        add(*total)
    return table


def times_table(comparison: Comparison) -> Table:
    """Tabulates the time of each layer in each form and in total, and the ratios in measured time and in theory.

    Args:
      comparison: counts and times.

    Returns:
      The table, for Rich to print in 80 columns or more.
    """
    rows = comparison.rows
    slowest = max(row.seconds(form).median for row in rows for form in FORMS)
    scale, unit = (1e3, "ms") if slowest >= 1e-3 else (1e6, "µs")
    table = _table(
        f"Measured time ({unit} per call)",
        ("layer", "size", "ordinary", "jds", "XLA\ngrouped", "ratio\ntime", "ratio\ntheory"),
    )
    for row in rows:
        mark = "*" if row.is_mostly_dispatch else ""
        times = [_time(row.seconds(form), scale) for form in FORMS]
        ratio = mark + _ratio(row.time_ratio().median)
        table.add_row(row.layer.name, _size(row.layer), *times, ratio, _ratio(row.layer.ratio))
    if len(rows) > 1:
        table.add_section()
        sums = [_digits(comparison.seconds(form) * scale) for form in FORMS]
        ratios = comparison.time_ratio(), comparison.multiplications.ratio
        table.add_row("total", "", *sums, *map(_ratio, ratios))
    return table


def notes(comparison: Comparison) -> list[str]:
    """Explains how to read the two tables.

    Args:
      comparison: counts and times.

    Returns:
      One paragraph per string.
    """
    found = [
        "mult-adds: one per multiplication, padding included. XLA counts a mult-add as 2 FLOPs and leaves padding "
        "out; lowered is the program that JAX passes to XLA, compiled the program that runs.",
        "Times: median ± half the interquartile range, one call at a time. The ratio of times is jds / "
        "ordinary, the median over interleaved rounds. XLA grouped: the separable form computed by XLA's own "
        f"grouped convolution. Measured: {comparison.setting}.",
    ]
    if len(comparison.rows) > 1:
        found.append(
            "Layers that cannot be split are the same in both forms. Each layer is timed separately; the total is a "
            "sum."
        )
    small = [row for row in comparison.rows if row.is_mostly_dispatch]
    if small:
        dispatch = statistics.median(row.seconds("dispatch").median for row in small)
        found.append(
            "* Too small: more than a third of the time is dispatch overhead. A call that computes almost nothing "
            f"takes {dispatch * 1e6:.0f} µs on this machine. The measured ratio says little about the arithmetic; "
            "try a larger layer, for example `jds compare --input 14x14x512 --out-features 512`."
        )
    return found


def _closed_form(layer: Layer) -> str:
    kernel, m = layer.kernel_size, layer.channel_multiplier
    if len(set(kernel)) > 1:
        positions = f"({'·'.join(map(str, kernel))})"
    else:
        positions = str(kernel[0]) + {1: "", 2: "²", 3: "³"}[len(kernel)]
    return f"{m}/{layer.out_features} + {m}/{positions}"


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(
        title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, header_style="", padding=0,
        show_edge=False,
    )  # fmt: skip
    for heading in headings:
        left = heading in ("layer", "size")
        # In a narrow terminal, the text columns are folded to keep the numbers intact.
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left, overflow="fold")
        table.columns[-1].vertical = "bottom"
    return table


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _unless_one(value: int | tuple[int, ...]) -> str:
    """Formats a size; empty if it is 1."""
    sizes = value if isinstance(value, tuple) else (value,)
    return "" if set(sizes) == {1} else _by(sizes[:1] if len(set(sizes)) == 1 else sizes)


def _product(factors: Sequence[int], value: int) -> str:
    return f"{'·'.join(map(str, factors))} = {_number(value)}" if len(factors) > 1 else _number(value)


def _number(value: int) -> str:
    return str(value) if value < 10_000 else f"{value:,}"


def _count(value: int | float | None, millions: bool) -> str:
    if value is None:
        return "unknown"
    return f"{value / 1e6:.2f}" if millions else _number(round(value))


def _ratio(value: float | Fraction) -> str:
    return f"{float(value):.3f}"


def _time(seconds: Spread, scale: float) -> str:
    median = seconds.median * scale
    return f"{_digits(median)} ±{_digits(seconds.half_width * scale, like=median)}"


def _digits(value: float, *, like: float | None = None) -> str:
    """Formats three significant digits, or as many decimals as `like` would get."""
    decimals = sum((value if like is None else like) < limit for limit in (1, 10, 100))
    return f"{value:.{decimals}f}"


def _size(layer: Layer) -> str:
    strides = _unless_one(layer.strides)
    return f"{_by(layer.input_size)}→{layer.out_features}" + (f" /{strides}" if strides else "")
