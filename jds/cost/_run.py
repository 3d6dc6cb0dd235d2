"""One profiled run of a program: which instruction ran when, and which layer each moment belongs to."""

import collections
from collections.abc import Iterator
from typing import NamedTuple

# Layers of the time that belongs to no layer.
CALL, NOT_ATTRIBUTED = "(call)", "(not attributed)"
# The most seconds between two instructions that are taken for the start of the second one.
_START = 2e-6


class Piece(NamedTuple):
    """A time in which a thread runs an instruction, and none inside of it.

    Attributes:
      start: seconds since the start of the run.
      seconds: its duration.
      layer: path of the instruction's layer.
      primitive: primitive of its source equation.
      instruction: its name in the optimized program.
      thread: name of the thread.
    """

    start: float
    seconds: float
    layer: str
    primitive: str
    instruction: str
    thread: str

    @property
    def end(self) -> float:
        """Seconds from the start of the run to its end."""
        return self.start + self.seconds


class Slice(NamedTuple):
    """A time that belongs to one layer, or to `CALL` or `NOT_ATTRIBUTED`.

    Attributes:
      start: seconds since the start of the run.
      seconds: its duration.
      layer: the layer.
    """

    start: float
    seconds: float
    layer: str


class Run(NamedTuple):
    """A run of a program.

    Attributes:
      seconds: time from the call to its results.
      pieces: what ran, by the time at which it started; several threads run at the same time.
    """

    seconds: float
    pieces: tuple[Piece, ...]

    def slices(self) -> Iterator[Slice]:
        """Yields slices, one after the other, that fill the run.

        The time before the first instruction and after the last one belongs to `CALL`. If several threads run, each
        moment is divided among their layers: a slice of it for each. Up to two microseconds between two instructions
        belong to the second one.
        """
        gap = None
        for each in self._slices():
            if gap is not None:
                each = Slice(gap.start, gap.seconds + each.seconds, each.layer)
            gap = each if each.layer == NOT_ATTRIBUTED and each.seconds <= _START else None
            if gap is None:
                yield each
        if gap is not None:
            yield gap

    def _slices(self) -> Iterator[Slice]:
        if not self.pieces:
            yield Slice(0.0, self.seconds, NOT_ATTRIBUTED)
            return
        changes = sorted(
            [(piece.start, 1, piece.layer) for piece in self.pieces]
            + [(piece.end, -1, piece.layer) for piece in self.pieces]
        )
        yield Slice(0.0, changes[0][0], CALL)
        running: collections.Counter[str] = collections.Counter()
        now = changes[0][0]
        for time, change, layer in changes:
            yield from _divided(now, time - now, running)
            now = time
            running[layer] += change
            if not running[layer]:
                del running[layer]
        yield Slice(now, self.seconds - now, CALL)


def _divided(start: float, seconds: float, running: collections.Counter[str]) -> Iterator[Slice]:
    """Divides a time among the layers that run, by their numbers of threads."""
    if seconds <= 0:
        return
    threads = running.total()
    if not threads:
        yield Slice(start, seconds, NOT_ATTRIBUTED)
    done = 0
    for layer, count in running.items():
        yield Slice(start + seconds * done / threads, seconds * count / threads, layer)
        done += count
