"""The targets of the library, and whether a measurement meets them."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from jds.cost import Spread


class Target(NamedTuple):
    """A number that should not exceed a limit.

    Attributes:
      name: what the number is.
      limit: the target: the greatest value that meets it.
      value: the measured value; None if it was not measured.
      quartiles: quartiles over the rounds, if there is one ratio per round.
    """

    name: str
    limit: float
    value: float | None
    quartiles: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.value <= self.limit else "MISSED"

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: {self.verdict} (target {self.limit:g})"
        spread = "" if self.quartiles is None else " ({:.3g} to {:.3g})".format(*self.quartiles)
        return f"{self.name}: {self.value:.3g}{spread}, target {self.limit:g}: {self.verdict}"


def of_ratio(name: str, limit: float, ratio: Spread | None) -> Target:
    """A target for the median of a ratio."""
    return Target(name, limit, None) if ratio is None else Target(name, limit, ratio.median, (ratio.low, ratio.high))


def of_cases(
    name: str, limit: float, ratios: Iterable[Spread | None], *, worst: float | None = None, case: str = "layer"
) -> list[Target]:
    """Targets for the geometric mean of the ratios of several cases and, if it has a limit, for the greatest of them.

    Unless every case was measured, the targets count as not measured.
    """
    found = list(ratios)
    known = [ratio for ratio in found if ratio is not None]
    names = f"{name}, geometric mean", f"{name}, slowest {case}"
    if not known or len(known) < len(found):
        limits = zip(names, (limit, worst), strict=True)
        return [Target(text, at_most, None) for text, at_most in limits if at_most is not None]
    low, median, high = (statistics.geometric_mean(column) for column in zip(*known, strict=True))
    targets = [Target(names[0], limit, median, (low, high))]
    if worst is not None:
        slowest = max(known, key=lambda ratio: ratio.median)
        targets.append(of_ratio(names[1], worst, slowest))
    return targets


def hardest(ratios: Iterable[Spread | None]) -> Spread | None:
    """The greatest of the ratios to several contenders: the ratio to the fastest of them."""
    return max(filter(None, ratios), key=lambda ratio: ratio.median, default=None)
