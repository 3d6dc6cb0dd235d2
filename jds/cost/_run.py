"""One profiled run of a program: which instruction ran when, and what each moment belongs to."""

import collections
import math
from collections.abc import Iterator
from typing import NamedTuple

# Layers of the time that belongs to no layer.
CALL, LOOPS, NOT_ATTRIBUTED = "(call)", "(loops)", "(not attributed)"


class Owner(NamedTuple):
    """What a time belongs to.

    Attributes:
      layer: path of a layer, or `CALL`, `LOOPS` or `NOT_ATTRIBUTED`.
      operation: index in `Analysis.operations`; None if it belongs to no single one.
      is_loop: whether it is a loop's own time, rather than that of an operation in it.
    """

    layer: str
    operation: int | None = None
    is_loop: bool = False


class Loop(NamedTuple):
    """A loop of the optimized program.

    Attributes:
      instruction: its name there.
      owner: what its own time belongs to.
    """

    instruction: str
    owner: Owner


class Piece(NamedTuple):
    """A time in which a thread runs an instruction, and none inside of it.

    Attributes:
      start: seconds since the start of the run.
      seconds: its duration.
      owner: what the time belongs to.
      primitive: primitive of the instruction's source equation.
      instruction: its name in the optimized program.
      thread: name of the thread.
      loops: the loops around it, outermost first; of a loop, also the loop itself.
      holds_others: whether other instructions run as a part of it, maybe on other threads.
    """

    start: float
    seconds: float
    owner: Owner
    primitive: str
    instruction: str
    thread: str
    loops: tuple[Loop, ...] = ()
    holds_others: bool = False

    @property
    def end(self) -> float:
        """Seconds from the start of the run to its end."""
        return self.start + self.seconds


class Slice(NamedTuple):
    """A time that belongs to one owner.

    Attributes:
      start: seconds since the start of the run.
      seconds: its duration.
      owner: what it belongs to.
      is_wait: whether no instruction runs but those that hold others.
    """

    start: float
    seconds: float
    owner: Owner
    is_wait: bool = False


class Run(NamedTuple):
    """A run of a program.

    Attributes:
      seconds: time from the call to its results.
      pieces: what ran, by the time at which it started; several threads run at the same time.
    """

    seconds: float
    pieces: tuple[Piece, ...]

    @property
    def waiting(self) -> float:
        """Seconds between the first and the last instruction in which none ran but those that hold others."""
        return math.fsum(each.seconds for each in self.slices() if each.is_wait)

    def slices(self) -> Iterator[Slice]:
        """Yields slices, one after the other, that fill the run.

        The time before the first instruction and after the last one belongs to `CALL`. If several threads run, each
        moment is divided among the instructions: a slice of it for each. An instruction that holds others has only the
        time in which none of these runs. Between two instructions, XLA starts the second one or waits for a thread that
        runs it: the time belongs to the loop around both or, without one, to the second.
        """
        if not self.pieces:
            yield Slice(0.0, self.seconds, Owner(NOT_ATTRIBUTED))
            return
        ends = [(piece.end, 0, piece) for piece in self.pieces]
        starts = [(piece.start, 1, piece) for piece in self.pieces]
        changes = sorted(ends + starts, key=lambda change: change[:2])
        now, _, last = changes[0]
        yield Slice(0.0, now, Owner(CALL))
        running: collections.Counter[Owner] = collections.Counter()
        holding: collections.Counter[Owner] = collections.Counter()
        for time, is_start, piece in changes:
            owners = running or holding or collections.Counter([_owner_between(last, piece)])
            yield from _divided(now, time - now, owners, is_wait=not running)
            now, last = time, piece
            active = holding if piece.holds_others else running
            active[piece.owner] += 1 if is_start else -1
            if not active[piece.owner]:
                del active[piece.owner]
        yield Slice(now, self.seconds - now, Owner(CALL))


def _owner_between(first: Piece, second: Piece) -> Owner:
    """Returns what the time between two instructions belongs to."""
    common = [loop for loop, other in zip(first.loops, second.loops, strict=False) if loop == other]
    return common[-1].owner if common else second.owner


def _divided(start: float, seconds: float, owners: collections.Counter[Owner], *, is_wait: bool) -> Iterator[Slice]:
    """Divides a time among the owners of what runs, by their numbers of threads."""
    if seconds <= 0:
        return
    threads, done = owners.total(), 0
    for owner, count in owners.items():
        yield Slice(start + seconds * done / threads, seconds * count / threads, owner, is_wait)
        done += count
