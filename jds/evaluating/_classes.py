"""Finds the class that each folder of images stands for."""

import collections
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from jds.weights._errors import printable


class Matched(NamedTuple):
    """The classes of folders.

    Attributes:
      numbers: the class of each folder.
      by: what they were matched by.
    """

    numbers: tuple[int, ...]
    by: str


def match(folders: Sequence[str], labels: Mapping[int, str], count: int) -> Matched:
    """Finds the class of each folder: by label, else by number, else, if there is one for each class, by sorted order.

    Only the letters and digits of a label count, and its first synonym is enough: `tiger_cat` is "Tiger cat, Felis".

    Args:
      folders: names of the folders, sorted.
      labels: the known labels.
      count: number of classes.

    Raises:
      ValueError: a folder is not a class, or two are the same one.

    Example:
      >>> from jds.evaluating._classes import match
      >>> match(["dog", "tiger_cat"], {0: "Tiger cat, Felis", 1: "dog"}, 2)
      Matched(numbers=(1, 0), by='label')
      >>> match(["n01", "n02"], {0: "Tiger cat, Felis", 1: "dog"}, 2)
      Matched(numbers=(0, 1), by='sorted order')
    """
    found = find(folders, labels)
    if any(number is not None for number in found):
        return Matched(_all_found(folders, labels, found), "label")
    if all(name.isascii() and name.isdecimal() and int(name) < count for name in folders):
        return Matched(_distinct(folders, labels, [int(name) for name in folders]), "number")
    if len(folders) == count:
        return Matched(tuple(range(count)), "sorted order")
    known = f"its labels ({_few(labels.values())})" if labels else "labels, which are not known here"
    raise ValueError(
        f"there are {len(folders)} folders ({_few(folders)}) for {count} classes. Name each after a class, by "
        f"{known} or its number from 0 to {count - 1}; or have one for each class, which are then taken in sorted "
        "order. If the images have no classes, pass a folder that holds them itself"
    )


def find(names: Sequence[str], labels: Mapping[int, str]) -> list[int | None]:
    """Returns the class of each name, or None if no label, or more than one, is like it."""
    forms: tuple[Callable[[str], str], ...] = (str, _plain, lambda label: _plain(label.partition(",")[0]))
    known = []
    for form in forms:
        numbers = collections.defaultdict(list)
        for number, label in labels.items():
            numbers[form(label)].append(number)
        known.append(numbers)
    return [
        next(
            (
                numbers[wanted][0]
                for numbers, wanted in zip(known, (name, _plain(name), _plain(name)), strict=True)
                if len(numbers.get(wanted, ())) == 1
            ),
            None,
        )
        for name in names
    ]


def _plain(text: str) -> str:
    # A label without letters and digits, such as "+", stays as it is.
    return re.sub(r"[\W_]+", " ", text.casefold()).strip() or text


def _all_found(folders: Sequence[str], labels: Mapping[int, str], found: Sequence[int | None]) -> tuple[int, ...]:
    unknown = [name for name, number in zip(folders, found, strict=True) if number is None]
    if unknown:
        near = [each for name in unknown[:3] for each in difflib.get_close_matches(name, labels.values(), 1)]
        hint = f"did you mean {_few(near)}?" if near else f"the labels are {_few(labels.values())}"
        raise ValueError(
            f"{len(unknown)} of the {len(folders)} folders are named after no class, or more than one: "
            f"{_few(unknown)}; {hint}"
        )
    return _distinct(folders, labels, [number for number in found if number is not None])


def _distinct(folders: Sequence[str], labels: Mapping[int, str], numbers: Sequence[int]) -> tuple[int, ...]:
    for number, count in collections.Counter(numbers).items():
        if count > 1:
            same = [name for name, other in zip(folders, numbers, strict=True) if other == number]
            label = f" ({printable(labels[number])})" if number in labels else ""
            raise ValueError(f"the folders {_few(same)} are the same class, {number}{label}; join them")
    return tuple(numbers)


def _few(names: Iterable[str]) -> str:
    shown = [f"'{printable(name)}'" for name in names]
    return ", ".join(shown[:4]) + ", …" * (len(shown) > 4)
