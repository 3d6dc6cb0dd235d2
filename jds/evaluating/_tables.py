"""Prints evaluations."""

import collections
from collections.abc import Iterator

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from jds._common.text import plain_table
from jds.evaluating._evaluation import Evaluation, Share
from jds.weights._errors import printable

_FEW_CLASSES = 20


def report(of: Evaluation, *, by_class: bool | None, show: int) -> RenderableType:
    """Returns the tables and notes of an evaluation."""
    parts: list[RenderableType] = [_models(of), "", *_explained(of), *of.notes]
    if of.truth is not None and (by_class or (by_class is None and len(np.unique(of.truth)) <= _FEW_CLASSES)):
        parts += ["", _classes(of, of.truth)]
    if show:
        parts += _images(of, show)
    return Group(*parts)


def _table(*names: str) -> Table:
    table = plain_table()
    for name in names:
        table.add_column(printable(name), justify="right" if table.columns else "left", no_wrap=True)
    return table


def _models(of: Evaluation) -> Table:
    table = _table("", *of.columns)
    names = [*of.columns]
    others = names[1:]
    table.add_row("runtime", *(column.runtime for column in of.columns.values()))
    if of.truth is not None:
        table.add_row("top 1", *(_with_interval(of.accuracy(name)) for name in names))
        if of.classes > 5:
            table.add_row("top 5", *(_with_interval(of.accuracy(name, 5)) for name in names))
    if others:
        table.add_row("same top 1 as first", "", *(_percent(of.agreement(name).value) for name in others))
    if others and of.truth is not None:
        changes = [of.change(name) for name in others]
        table.add_row("newly right, wrong", "", *(f"{change.gained}, {change.lost}" for change in changes))
        table.add_row("p (McNemar)", "", *(f"{change.p_value():.2g}" for change in changes))
    times = [column.time() for column in of.columns.values()]
    table.add_row("ms per image", *(f"{1e3 * t.median:.2f} [{1e3 * t.low:.2f}, {1e3 * t.high:.2f}]" for t in times))
    table.add_row("images per run", *(str(column.batch) for column in of.columns.values()))
    table.add_row("size", *(f"{column.bytes / 1e6:.2f} MB" for column in of.columns.values()))
    return table


def _explained(of: Evaluation) -> Iterator[str]:
    images = f"{len(of.images)} image{'s' * (len(of.images) != 1)}"
    if of.truth is None:
        yield f"{images} without classes, so accuracy is not known; put them into one folder for each class to see it."
    else:
        count = len(np.unique(of.truth))
        some = f"{count} of the " if count < of.classes else ""
        yield (
            f"{images} of {some}{of.classes} classes, which the folders were matched to by {of.matched_by}. In "
            "brackets: 95 % confidence interval (Wilson)."
        )
    if len(of.columns) > 1 and of.truth is not None:
        yield (
            "newly right, wrong: images that this model classifies correctly and the first one does not, and the "
            "reverse; p: how likely a split at least as uneven is if both are equally good."
        )
    turns = "; the models took turns" * (len(of.columns) > 1)
    yield f"ms: median and quartiles of the run alone, each runtime with its usual number of threads{turns}."


def _classes(of: Evaluation, truth: np.ndarray) -> Table:
    names = [*of.columns]
    alone = ("most often taken for",) if len(names) == 1 else ()
    table = _table("class", "images", *names, *alone)
    right = {name: of.right(name) for name in names}
    for number in np.unique(truth).tolist():
        here = truth == number
        said = of.columns[names[0]].top[here, 0]
        cells = [_percent(right[name][here].mean()) for name in names]
        wrong = collections.Counter(said[said != number].tolist()).most_common(1)
        mistaken = [f"{printable(of.label(other))} ({count})" for other, count in wrong] or [""]
        table.add_row(printable(of.label(number)), str(here.sum()), *cells, *mistaken[: len(alone)])
    return table


def _images(of: Evaluation, show: int) -> list[RenderableType]:
    """Lists the images on which models differ, or that a single one gets wrong."""
    if len(of.columns) > 1:
        places, what = of.differing(), "on which the models differ"
    elif of.truth is not None:
        places, what = np.flatnonzero(~of.right(next(iter(of.columns)))), "that are classified incorrectly"
    else:
        return []
    if not len(places):
        return ["", f"There are no images {what}."]
    # What the first model is surest of comes first.
    places = places[np.argsort(-next(iter(of.columns.values())).probabilities[places, 0], kind="stable")]
    shown = f", of which the {show} that the first one is surest of" if show < len(places) else ""
    truth = () if of.truth is None else ("class",)
    table = _table("image", *truth, *of.columns)
    for place in places[:show].tolist():
        cells = [] if of.truth is None else [of.label(int(of.truth[place]))]
        for column in of.columns.values():
            cells.append(f"{of.label(int(column.top[place, 0]))} {column.probabilities[place, 0]:.0%}")
        table.add_row(printable(of.images[place]), *map(printable, cells))
    return ["", f"Images {what}: {len(places)} of {len(of.images)}{shown}:", table]


def _with_interval(share: Share) -> str:
    low, high = share.interval()
    return f"{_percent(share.value)} [{100 * low:.1f}, {100 * high:.1f}]"


def _percent(share: float) -> str:
    return f"{share:.2%}"
