"""The rows of a table that folds: layers, and the sums of the layers inside them."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from jds.cost._analysis import Analysis
from jds.cost._bounds import Estimate
from jds.cost._columns import Line, lines
from jds.cost._estimate import estimate as estimate_rows
from jds.cost._grouping import Grouping
from jds.cost._rows import RowGroup


class Branch(NamedTuple):
    """A row, and the rows inside it.

    Attributes:
      line: the row.
      depth: the number of names of its path.
      inside: the rows that it is the sum of; empty for a row of the grouping itself.
    """

    line: Line
    depth: int
    inside: "list[Branch]"

    @property
    def rows(self) -> int:
        """The number of rows of the grouping in it."""
        return sum(branch.rows for branch in self.inside) or 1


def branches(analysis: Analysis, grouping: Grouping, estimate: Estimate | None) -> list[Branch]:
    """Returns the rows of a grouping inside those of smaller depths; all on one level if they are no layers, or sorted.

    A row's bytes are less than the sum of those of the rows inside it, and so are computed, not added.
    """
    groups, found = analysis.groups(grouping), _lines(analysis, grouping, estimate)
    if grouping.by not in ("layer", "fused") or grouping.sort != "program" or grouping.top is not None:
        return [Branch(line, 1, []) for line in found]
    levels = [_Level(analysis, grouping, depth, estimate) for depth in range(1, _deepest(analysis, grouping) + 1)]
    top: list[Branch] = []
    known: dict[tuple[int, str], Branch] = {}
    for group, line in zip(groups, found, strict=True):
        beside = top
        for level in _above(group, levels):
            outer = level.at(group)
            key = level.depth, outer.row.name
            if key not in known:
                known[key] = Branch(level.lines[outer.row.name], level.depth, [])
                beside.append(known[key])
            beside = known[key].inside
        beside.append(Branch(line, line.row.name.count("/") + 1, []))
    return top


class _Level:
    """The rows of one depth, found by the operations that they stand for."""

    def __init__(self, analysis: Analysis, grouping: Grouping, depth: int, estimate: Estimate | None):
        self.depth = depth
        shallow = Grouping(grouping.by, depth)
        groups = analysis.groups(shallow)
        self._groups = {number: group for group in groups for number in group.operations}
        self.lines = {line.row.name: line for line in _lines(analysis, shallow, estimate)}

    def at(self, group: RowGroup) -> RowGroup:
        """Returns the row of this depth that a row belongs to."""
        return self._groups[group.operations[0]]


def _above(group: RowGroup, levels: list[_Level]) -> Iterator[_Level]:
    """Yields the levels above a row at which it is not alone, nor the only one inside of another one."""
    # A path that is shorter than a level has the same row there as at the level before.
    apart = list({level.at(group).row.name: level for level in reversed(levels)}.values())[::-1]
    sizes = [len(level.at(group).operations) for level in apart] + [len(group.operations)]
    for level, (size, size_inside) in zip(apart, itertools.pairwise(sizes), strict=True):
        if size != size_inside:
            yield level


def _deepest(analysis: Analysis, grouping: Grouping) -> int:
    longest = max((len(operation.path) for operation in analysis.operations), default=0)
    return longest if grouping.depth is None else min(longest, grouping.depth - 1)


def _lines(analysis: Analysis, grouping: Grouping, estimate: Estimate | None) -> list[Line]:
    times = estimate and estimate_rows(analysis, estimate.peak, grouping, estimate.measured)
    return lines(analysis.by(grouping), analysis.total, times)
