"""The columns of an analysis, for the terminal, notebooks and pages."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jds._common.text import short_number
from jds.cost._bounds import Bound, Estimate, microseconds, share
from jds.cost._grouping import Grouping
from jds.cost._rows import CostRow

NO_LAYER = "(no layer)"


class Line(NamedTuple):
    """A row with what it is shown beside.

    Attributes:
      row: the row.
      total: the row of the whole program.
      bound: its time on a device, if asked for.
    """

    row: CostRow
    total: CostRow
    bound: Bound | None


class Column(NamedTuple):
    """A column.

    Attributes:
      heading: its heading.
      explanation: what it holds, in a sentence.
      value: the value to sort by.
      text: what is shown.
      is_number: whether it is aligned on the right.
      priority: where there is no room for all, those with the lowest numbers are shown, equal ones together.
    """

    heading: str
    explanation: str
    value: Callable[[Line], Any]
    text: Callable[[Line], str]
    is_number: bool = True
    priority: int = 0


def lines(rows: tuple[CostRow, ...], total: CostRow, estimate: Estimate | None) -> list[Line]:
    """Returns the rows, each with its time if there is an estimate of the same rows."""
    bounds = {bound.name: bound for bound in estimate.rows} if estimate else {}
    return [Line(row, total, bounds.get(row.name)) for row in rows]


def total_line(total: CostRow, estimate: Estimate | None) -> Line:
    """Returns the line of the whole program."""
    return Line(total, total, estimate.total if estimate else None)


def count_text(row: CostRow, count: int) -> str:
    """Formats a count of a row, with a mark if the row costs more than is counted."""
    return ("≥ " if row.is_lower_bound else "") + short_number(count)


def columns(
    grouping: Grouping, rows: Sequence[CostRow], total: CostRow, estimate: Estimate | None, *, is_padded: bool
) -> list[Column]:
    """Returns all columns that have something to show, in their order."""
    padding = "including" if is_padded else "excluding"
    found = [
        Column(grouping.by, "", lambda line: line.row.name, lambda line: line.row.name or NO_LAYER, False),
        Column("kind", "The kind of most of its work.", _kind, _kind, False, 12),
        Column("output", "Shape of its last result.", _output, _output, False, 8),
        _count("mult-adds", f"Multiply-accumulates, {padding} padding.", lambda row: row.macs, 0),
        Column("%", "Its share of the program's multiply-accumulates.", _share, _percent, True, 3),
    ]
    if any(total.backward):
        words = "Those of its multiply-accumulates that belong to the backward pass."
        found.append(_count("backward", words, lambda row: row.backward.macs, 5))
    found += [
        _count("FLOPs", _FLOPS, lambda row: row.flops, 9),
        _size("params", "Elements of the parameters that it reads first.", lambda row: row.parameters, 4),
        _size("bytes in", _BYTES_IN, lambda row: row.bytes_in, 10),
        _size("out", "Bytes that it writes and others read, each array once.", lambda row: row.bytes_out, 10),
        Column(
            "FLOP/B", _INTENSITY, lambda line: line.row.intensity, lambda line: _one_place(line.row.intensity), True, 11
        ),
    ]
    found += [_FIELD, _STRIDE] if any(row.receptive_field for row in rows) else []
    return [*found, *_times(estimate)] if estimate else found


_FIELD = Column(
    "field",
    "Receptive field: the number of positions of the image that one position of its last result depends on, along each "
    "axis; one number if they are equal.",
    lambda line: math.prod(line.row.receptive_field or ()),
    lambda line: _along_axes(line.row.receptive_field),
    True,
    13,
)
_STRIDE = Column(
    "stride",
    "Positions of the image between neighbors in its last result, along each axis; one number if they are equal.",
    lambda line: math.prod(each or 0 for each in line.row.stride or ()),
    lambda line: _along_axes(line.row.stride),
    True,
    13,
)
_FLOPS = (
    "Operations on floating-point numbers: 2 per multiply-accumulate, and element-wise work and reductions. "
    "Transcendental functions and integers are not included."
)
_BYTES_IN = "Bytes of activations that it reads, each array once; of an array that is indexed, what is selected."
_INTENSITY = "FLOPs per byte of the minimum traffic: what it reads and writes, and its parameters once."


def _times(estimate: Estimate) -> list[Column]:
    def bound(line: Line) -> Bound:
        return line.bound or Bound(line.row.name, 0.0, "memory")

    found = [
        Column(
            "µs alone",
            "Time in which the device could do this work and read and write its arrays in memory; for the total, the "
            "least time, with all arrays between the rows on the chip.",
            lambda line: bound(line).seconds,
            lambda line: microseconds(bound(line).seconds),
            True,
            1,
        ),
        Column(
            "limit",
            "What this time is limited by.",
            lambda line: bound(line).limit,
            lambda line: bound(line).limit,
            False,
            7,
        ),
    ]
    if estimate.total.measured is not None:
        found += [
            Column(
                "measured",
                "Measured time in microseconds: the median.",
                lambda line: bound(line).measured or 0.0,
                lambda line: "" if (seconds := bound(line).measured) is None else microseconds(seconds),
                True,
                2,
            ),
            Column(
                "share",
                "Time alone / measured time.",
                lambda line: bound(line).share or 0.0,
                lambda line: share(bound(line)),
                True,
                6,
            ),
        ]
    return found


def _kind(line: Line) -> str:
    return "" if line.row is line.total else line.row.kind


def _output(line: Line) -> str:
    shape = line.row.output
    return "" if shape is None else "×".join(map(str, shape)) or "scalar"


def _along_axes(sizes: Sequence[object] | None) -> str:
    texts = ["–" if size is None else str(size) for size in sizes or ()]
    return texts[0] if len(set(texts)) == 1 else "×".join(texts)


def _share(line: Line) -> float:
    return line.row.macs / line.total.macs if line.total.macs else 0.0


def _percent(line: Line) -> str:
    percent = 100 * _share(line)
    return f"{percent:.0f}" if percent >= 9.95 or not percent else _one_place(percent)


def _one_place(value: float) -> str:
    """Formats a number with one place; what is not zero is not shown as zero."""
    return "<0.1" if 0 < value < 0.05 else f"{value:.1f}"


def _count(heading: str, explanation: str, count: Callable[[CostRow], int], priority: int) -> Column:
    def text(line: Line) -> str:
        return count_text(line.row, count(line.row))

    return Column(heading, explanation, lambda line: count(line.row), text, True, priority)


def _size(heading: str, explanation: str, size: Callable[[CostRow], int], priority: int) -> Column:
    return Column(
        heading, explanation, lambda line: size(line.row), lambda line: short_number(size(line.row)), True, priority
    )
