"""What the library promises, and whether a measurement bears it out."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from jds.cost import Spread


class Target(NamedTuple):
    """A number that is to be no greater than a limit.

    Attributes:
      name: what the number is.
      limit: its greatest value.
      value: what was measured; None if it was not.
      quartiles: of the rounds, if there is one ratio a round.
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
        value = "" if self.value is None else f" {self.value:.3g}"
        spread = "" if self.quartiles is None else " ({:.3g} to {:.3g})".format(*self.quartiles)
        return f"{self.name}:{value}{spread}, at most {self.limit:g}: {self.verdict}"


def of_ratio(name: str, limit: float, ratio: Spread | None) -> Target:
    """A target for the median of a ratio."""
    return Target(name, limit, None) if ratio is None else Target(name, limit, ratio.median, (ratio.low, ratio.high))


def of_layers(name: str, limit: float, ratios: Iterable[Spread | None], *, worst: float | None = None) -> list[Target]:
    """Targets for the geometric mean of the layers' ratios and, if there is a limit for it, for the greatest of them.

    They are not measured if one layer is not.
    """
    found = list(ratios)
    known = [ratio for ratio in found if ratio is not None]
    names = f"{name}, geometric mean", f"{name}, slowest layer"
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
    """The greatest of the ratios to several contenders: the one to the best of them."""
    return max(filter(None, ratios), key=lambda ratio: ratio.median, default=None)
