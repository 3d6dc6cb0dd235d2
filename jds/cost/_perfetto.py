"""Writes a profiled run as a trace that ui.perfetto.dev and chrome://tracing open."""

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jds._common.files import write_atomically
from jds.cost._run import Run

_PROCESS, _LAYERS = 1, 1
_NO_LAYER = "(no layer)"


class _Span(NamedTuple):
    """A time that belongs to one layer, in whole nanoseconds, so that spans that touch still do in the file."""

    start: int
    end: int
    path: tuple[str, ...]


def write_trace(path: Path, run: Run) -> None:
    """Writes a run as Chrome's trace events, compressed if the path ends in `.gz`.

    Raises:
      OSError: the file cannot be written.
    """
    # In the order of their starts, the outer of two that start together first: some readers need it.
    events = sorted(_events(run), key=lambda event: (event["tid"], event["ts"], -event["dur"]))
    trace = {"traceEvents": [*_names(run), *events], "displayTimeUnit": "ns"}
    content = json.dumps(trace).encode()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _threads(run: Run) -> dict[str, int]:
    """Returns the number of the track of each thread."""
    return {name: _LAYERS + 1 + i for i, name in enumerate(dict.fromkeys(piece.thread for piece in run.pieces))}


def _names(run: Run) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": _PROCESS, "name": "process_name", "args": {"name": "one run"}}
    for name, track in {"layers": _LAYERS, **_threads(run)}.items():
        common = {"ph": "M", "pid": _PROCESS, "tid": track}
        yield common | {"name": "thread_name", "args": {"name": name}}
        yield common | {"name": "thread_sort_index", "args": {"sort_index": track}}


def _events(run: Run) -> Iterator[dict[str, Any]]:
    yield from _of_layers(_spans(run))
    threads = _threads(run)
    for piece in run.pieces:
        args = {
            "layer": piece.owner.layer or _NO_LAYER,
            "primitive": piece.primitive,
            "microseconds": piece.seconds * 1e6,
        }
        start, end = _nanoseconds(piece.start), _nanoseconds(piece.end)
        yield _event(piece.instruction, start, end, threads[piece.thread], args)


def _spans(run: Run) -> list[_Span]:
    """Returns the slices of a run; those of the same layer that follow each other are one."""
    slices = list(run.slices())
    bounds = [_nanoseconds(each.start) for each in slices] + [_nanoseconds(run.seconds)]
    spans = [
        _Span(start, end, tuple((each.owner.layer or _NO_LAYER).split("/")))
        for each, start, end in zip(slices, bounds[:-1], bounds[1:], strict=True)
        if end > start
    ]
    groups = [list(group) for _, group in itertools.groupby(spans, key=lambda span: span.path)]
    return [_Span(group[0].start, group[-1].end, group[0].path) for group in groups]


def _of_layers(spans: Sequence[_Span], outer: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Yields an event for each layer inside of another one, from when it starts until another one runs."""
    depth = len(outer) + 1
    for path, group in itertools.groupby(spans, key=lambda span: span.path[:depth]):
        if path == outer:
            continue  # the time of the outer layer itself
        members = list(group)
        yield _event("/".join(path), members[0].start, members[-1].end, _LAYERS, {})
        yield from _of_layers(members, path)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _event(name: str, start: int, end: int, track: int, args: dict[str, Any]) -> dict[str, Any]:
    times = {"ts": start / 1e3, "dur": (end - start) / 1e3}
    return {"name": name, "ph": "X", "pid": _PROCESS, "tid": track, **times, "args": args}
