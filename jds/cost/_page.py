"""An analysis as one page for a browser, which needs nothing else and no network."""

import math
from html import escape
from importlib import resources
from string import Template

from jds.cost._analysis import Analysis, By, Row
from jds.cost._devices import Bound, Estimate, Peak
from jds.cost._text import bound_notes, micros, notes, number, share

_COLUMNS = ("params", "bytes in", "bytes out", "traffic", "FLOP/B")
# Of the roofline's picture, in pixels.
_WIDTH, _HEIGHT, _MARGIN = 900, 420, 60


def page(title: str, analysis: Analysis, by: By = "layer", estimate: Estimate | None = None) -> str:
    """Writes an analysis as a self-contained HTML page: a table to sort, with bars, and a roofline.

    Args:
      title: of the page.
      analysis: of a program.
      by: what a row is.
      estimate: by the same, to add the least and measured times and to draw the roofline of its device.

    Returns:
      The text of the page, in UTF-8.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> cost.page("a product", cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4))))[:15]
      '<!doctype html>'
    """
    rows = analysis.by(by)
    has_backward = any(analysis.total.backward)
    counts = ["mult-adds", *(["backward"] if has_backward else []), "FLOPs"]
    times = ["least µs", "held by"] if estimate else []
    if estimate and estimate.total.measured is not None:
        times += ["measured µs", "share"]
    headings = [by, "kind", *counts, *_COLUMNS, *times]
    largest = max((row.macs for row in rows), default=0)
    seconds = {bound.name: bound for bound in (*estimate.rows, estimate.total)} if estimate else {}
    template = Template(resources.files("jds.cost").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        headings="".join(f'<th scope="col"><button>{escape(heading)}</button></th>' for heading in headings),
        rows="\n".join(f"<tr>{_cells(row, largest, seconds, has_backward)}</tr>" for row in rows),
        total=_cells(analysis.total, 0, seconds, has_backward),
        figure=_roofline(rows, estimate.peak, seconds) if estimate else "",
        notes="".join(
            f"<p>{escape(note)}</p>" for note in (*notes(analysis), *(bound_notes(estimate) if estimate else []))
        ),
    )


def _cells(row: Row, largest: int, seconds: dict[str, Bound], has_backward: bool) -> str:
    mark = "≥ " if row.is_lower_bound else ""
    counts = [row.macs, *([row.backward.macs] if has_backward else []), row.flops]
    sizes = (row.parameters, row.bytes_in, row.bytes_out, row.traffic)
    bar = f'<span class="bar" style="width:{100 * row.macs / largest:.1f}%"></span>' if largest and row.macs else ""
    cells = [f"<td>{escape(row.name or '(no layer)')}</td><td>{row.kind}</td>"]
    cells += [_cell(count, mark + number(count) + (bar if i == 0 else "")) for i, count in enumerate(counts)]
    cells += [_cell(size, number(size)) for size in sizes]
    cells.append(_cell(row.intensity, f"{row.intensity:.1f}"))
    if seconds:
        bound = seconds[row.name]
        cells.append(_cell(bound.seconds, micros(bound.seconds)) + f"<td>{bound.limit}</td>")
        if seconds["total"].measured is not None:
            measured = bound.measured
            cells.append(_cell(measured or 0, "" if measured is None else micros(measured)))
            cells.append(_cell(bound.share or 0, escape(share(bound))))
    return "".join(cells)


def _cell(value: int | float, shown: str) -> str:
    return f'<td data-value="{value}">{shown}</td>'


def _roofline(rows: tuple[Row, ...], peak: Peak, bounds: dict[str, Bound]) -> str:
    """Operations a second that each row may reach or reaches, by its operations a byte, both on logarithmic axes."""
    is_measured = any(bounds[row.name].measured for row in rows)
    drawn = [row for row in rows if row.flops and row.traffic]
    if is_measured:
        # Above the roof a row is no picture of the device, but of its caches and of what XLA has fused.
        drawn = [row for row in drawn if 0 < (bounds[row.name].share or 0) <= 1]
    if not drawn:
        return ""
    rates = {row.name: _rate(row, peak, bounds[row.name].measured) for row in drawn}
    ridge = peak.flops / peak.bytes
    ends = [*(row.intensity for row in drawn), ridge]
    low, high = min(ends) / 2, max(ends) * 2
    top, bottom = max(peak.flops, *rates.values()) * 2, min(low * peak.bytes, *rates.values()) / 2

    def place(intensity: float, rate: float) -> tuple[float, float]:
        x = math.log(intensity / low) / math.log(high / low)
        y = math.log(rate / bottom) / math.log(top / bottom)
        return _MARGIN + x * (_WIDTH - 2 * _MARGIN), _HEIGHT - _MARGIN - y * (_HEIGHT - 2 * _MARGIN)

    corners = [place(i, min(i * peak.bytes, peak.flops)) for i in (low, ridge, high)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    dots = []
    for row in drawn:
        x, y = place(row.intensity, rates[row.name])
        dots.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#d55e00" fill-opacity="0.7"><title>{escape(row.name)}: '
            f"{row.intensity:.1f} FLOP/B, {rates[row.name] / 1e9:.4g} GFLOP/s</title></circle>"
        )
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    below = f'y="{_HEIGHT - _MARGIN + 20}" text-anchor="middle"'
    ticks = "".join(f'<text x="{place(10.0**p, bottom)[0]:.1f}" {below}>{10.0**p:g}</text>' for p in powers)
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Roofline">'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="2"/>'
        f"{''.join(dots)}{ticks}"
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 10}" text-anchor="middle">FLOPs a byte of the least traffic</text>'
        f'<text x="{_WIDTH - _MARGIN}" y="{place(high, peak.flops)[1] - 8:.1f}" text-anchor="end">'
        f"{peak.flops / 1e9:.4g} GFLOP/s</text></svg><figcaption>"
        f"{'What each row reaches' if is_measured else 'The most that each row can reach'} on {escape(peak.name)} "
        f"({peak.bytes / 1e9:.4g} GB/s): under the slope memory holds it, under the flat roof arithmetic."
        "</figcaption></figure>"
    )


def _rate(row: Row, peak: Peak, measured: float | None) -> float:
    return row.flops / measured if measured else min(row.intensity * peak.bytes, peak.flops)
