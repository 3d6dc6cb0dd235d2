"""Places names next to dots, without overlaps."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from jds._common.text import Number

# A name may be this many lines of text away from its dot; the height of a line, and the radius of a dot.
_LINES = 4
_LINE, _DOT = 14, 4

Box = tuple[Number, Number, Number, Number]
Place = tuple[Number, Number]


class Label(NamedTuple):
    """A name.

    Attributes:
      name: its text.
      left, base: where it begins, and its base line; downward is positive.
      leader: the ends of a line to its dot; empty if it is beside it.
    """

    name: str
    left: Number
    base: Number
    leader: tuple[Place, ...]


def place_labels(
    places: Sequence[tuple[Number, Number, str]], dots: Iterable[Place], inside: Box, letter: Number
) -> list[Label]:
    """Finds places for names, the first ones first; names for which there is no room are left out.

    Args:
      places: places of dots, and their names.
      dots: places of all dots, which the names avoid.
      inside: left, top, right and bottom of where names may be.
      letter: width of a letter.
    """
    taken = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in dots]
    found = []
    for x, y, name in places:
        width = letter * len(name)
        for left, base in _beside(x, y, width):
            box = (left, base - 10, left + width, base + 3)
            if _is_inside(box, inside) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found.append(Label(name, left, base, _leader(x, y, box)))
                break
    return found


def _beside(x: Number, y: Number, width: Number) -> Iterator[Place]:
    """Yields places for a name: at the right, at the left, and above and below at growing distances."""
    yield x + 7, y + 4
    yield x - 7 - width, y + 4
    for lines in range(_LINES):
        for left in (x - width / 2, x, x - width):
            yield left, y - 8 - lines * _LINE
            yield left, y + 17 + lines * _LINE


def _leader(x: Number, y: Number, box: Box) -> tuple[Place, ...]:
    left, top, right, bottom = box
    if top - _LINE < y < bottom + _LINE:
        return ()
    return (x, y), (min(max(x, left), right), bottom if bottom < y else top)


def _is_inside(box: Box, inside: Box) -> bool:
    return bool(box[0] >= inside[0] and box[1] >= inside[1] and box[2] <= inside[2] and box[3] <= inside[3])


def _overlap(one: Box, other: Box) -> bool:
    return bool(one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])
