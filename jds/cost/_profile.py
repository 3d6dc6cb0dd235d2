"""Measures the time of a program and of its layers, using JAX's profiler to time XLA's instructions."""

import bisect
import collections
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jds._common.traceable import Traceable, as_traceable
from jds.cost._measurement import Measurement
from jds.cost._run import LOOPS, NOT_ATTRIBUTED, Loop, Owner, Piece, Run
from jds.cost._timing import Spread, check_seconds, measure, spread
from jds.cost._trial import try_program
from jds.cost.hlo import Marked, Operations, Source, mark, origin_of, sources

_RUN = "jds: one run"
_MOST_RUNS = 50


def measure_program(
    fun: Callable[..., Any] | Traceable, *args: Any, seconds: float = 1.0, time_limit: float = 10.0, **kwargs: Any
) -> Measurement:
    """Measures the time of a program and of its layers.

    Args:
      fun: a function, jitted or not, or an NNX module.
      *args: its arguments, as in `analyze`; zeros stand for those that have only a shape and a dtype.
      seconds: approximate duration of the measurement of the program, excluding compilation; that of its layers takes
        at most as long again, and more for programs with many instructions.
      time_limit: seconds that the program's `while` loops may take. They may never end with zeros, so that a program
        with such loops runs once before, and is given up after at most twice this time.
      **kwargs: its keyword arguments, like `args`.

    Returns:
      The times.

    Raises:
      ValueError: a duration is negative, or a `while` loop does not end in time.
      ValueError, TypeError: the function cannot be traced with these arguments.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jds import cost
      >>> cost.measure_program(jnp.sin, jax.ShapeDtypeStruct((9,), jnp.float32), seconds=0.0).total.median > 0
      True
    """
    check_seconds("measure_program", "seconds", seconds)
    check_seconds("measure_program", "time_limit", time_limit)
    program = as_traceable(fun, args, kwargs)
    # XLA keeps the marks, so that no name of a module is mistaken for one that JAX or XLA adds.
    marked = mark(program)
    arrays = tuple(map(_array, program.arrays))
    try_program(marked, arrays, time_limit)
    compiled = marked.compiled
    total = spread(measure({"program": (compiled, arrays)}, seconds=seconds)["program"])
    runs = max(3, min(_MOST_RUNS, round(seconds / total.median)))
    profiled = _runs_in(_profiled(compiled, arrays, runs), _instructions(marked))
    shares = [_shares(run) for run in profiled]
    layers = _layers(shares, total.median)
    median = sorted(profiled, key=lambda run: run.seconds)[len(profiled) // 2]
    return Measurement(total, layers, spread([run.seconds for run in profiled]), median, _parts(shares, layers))


# The share of a run that belongs to each owner.
_Shares = Mapping[Owner, float]


def _layers(runs: Sequence[_Shares], total: float) -> dict[str, Spread]:
    """Returns the layers' shares of the runs, as times whose medians add up to the total."""
    by_layer = [_by_layer(run) for run in runs]
    names = dict.fromkeys(name for run in by_layer for name in run)
    shares = {name: spread([run.get(name, 0.0) for run in by_layer]) for name in names}
    scale = total / sum(share.median for share in shares.values())
    return {name: Spread(*(part * scale for part in share)) for name, share in shares.items()}


def _parts(runs: Sequence[_Shares], layers: Mapping[str, Spread]) -> tuple[tuple[Owner, float], ...]:
    """Divides the layers' times among their owners, by the mean of their shares."""
    sums: dict[Owner, float] = collections.defaultdict(float)
    for run in runs:
        for owner, share in run.items():
            sums[owner] += share
    of_layer = _by_layer(sums)
    return tuple(
        (owner, layers[owner.layer].median * share / of_layer[owner.layer])
        for owner, share in sums.items()
        if layers[owner.layer].median
    )


def _by_layer(shares: _Shares) -> dict[str, float]:
    found: dict[str, float] = collections.defaultdict(float)
    for owner, share in shares.items():
        found[owner.layer] += share
    return dict(found)


def _profiled(compiled: Callable[..., Any], args: Sequence[jax.Array], runs: int) -> Any:
    """Runs a program `runs` times and returns a `jax.profiler.ProfileData`."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    options.host_tracer_level = 1  # only instructions: recording finer events would take time itself
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(runs):
                with jax.profiler.TraceAnnotation(_RUN):
                    jax.block_until_ready(compiled(*args))
        (file,) = Path(folder).rglob("*.xplane.pb")
        return jax.profiler.ProfileData.from_file(str(file))


class _Instruction(NamedTuple):
    """What the pieces of an instruction have in common; the fields are those of `Piece`."""

    owner: Owner
    primitive: str
    instruction: str
    loops: tuple[Loop, ...]
    holds_others: bool


def _instructions(marked: Marked) -> dict[str, _Instruction]:
    """Returns the instructions of a compiled program by their names."""
    operations, found = Operations(marked), {}

    def owner(source: Source) -> tuple[Owner, str]:
        if not source.chain:
            return Owner(NOT_ATTRIBUTED), ""
        layer, primitive = origin_of(marked, source.chain)
        operation = operations.of(source)
        if operation is not None:
            return Owner(layer, operation), primitive
        is_loop = primitive in ("scan", "while")
        return Owner(LOOPS if is_loop and not layer else layer, is_loop=is_loop), primitive

    for name, source in sources(marked).items():  # a loop comes before what is in it
        loops = tuple(Loop(each, found[each].owner) for each in source.loops)
        mine, primitive = owner(source)
        if source.is_loop:
            loops = (*loops, Loop(name, mine))
        found[name] = _Instruction(mine, primitive, name, loops, source.holds_others)
    return found


class _Event(NamedTuple):
    start: float
    end: float
    instruction: _Instruction
    thread: str


def _runs_in(profile: Any, instructions: Mapping[str, _Instruction]) -> list[Run]:
    """Returns the runs of a program, with its instructions."""
    runs: list[tuple[float, float]] = []
    threads: dict[Any, list[_Event]] = collections.defaultdict(list)
    for (plane, line, thread), event, on_host in _events(profile):
        end = event.start_ns + event.duration_ns
        if event.name == _RUN:
            runs.append((event.start_ns, end))
            continue
        # On the CPU, an event has the instruction's name; on GPUs it is a kernel, with the instruction's name as a
        # stat.
        name = event.name if on_host else str(dict(event.stats).get("hlo_op", event.name))
        if name in instructions:
            threads[plane, line].append(_Event(event.start_ns, end, instructions[name], thread))
    runs.sort()
    starts = [start for start, _ in runs]
    pieces: list[list[_Event]] = [[] for _ in runs]
    for piece in sorted(piece for events in threads.values() for piece in _innermost(events)):
        run = bisect.bisect(starts, piece.start) - 1
        if run >= 0 and piece.start < runs[run][1]:
            pieces[run].append(piece)
    return [_run(inside, start, end) for inside, (start, end) in zip(pieces, runs, strict=True)]


def _run(events: Iterable[_Event], start: float, end: float) -> Run:
    """Returns the run between two times, in nanoseconds."""
    pieces = [
        Piece(
            (event.start - start) / 1e9,
            (min(event.end, end) - event.start) / 1e9,
            thread=event.thread,
            **event.instruction._asdict(),
        )
        for event in events
    ]
    return Run((end - start) / 1e9, tuple(pieces))


def _innermost(events: list[_Event]) -> Iterator[_Event]:
    """Splits the events of one thread, some of which contain others, into pieces of the innermost ones."""
    open_events: list[_Event] = []
    now = 0.0

    def close_until(limit: float) -> Iterator[_Event]:
        nonlocal now
        while open_events and open_events[-1].end <= limit:
            inner = open_events.pop()
            if inner.end > now:
                yield inner._replace(start=now)
                now = inner.end

    for event in sorted(events, key=lambda event: (event.start, -event.end)):
        yield from close_until(event.start)
        if open_events and event.start > now:
            yield open_events[-1]._replace(start=now, end=event.start)
        now = event.start
        open_events.append(event)
    yield from close_until(float("inf"))


def _shares(run: Run) -> _Shares:
    """Returns the share of each owner in a run."""
    seconds: dict[Owner, float] = collections.defaultdict(float)
    for each in run.slices():
        seconds[each.owner] += each.seconds
    return {owner: time / run.seconds for owner, time in seconds.items()}


def _events(profile: Any) -> Iterator[tuple[tuple[str, int, str], Any, bool]]:
    """Yields each event's thread (its plane, its number there, its name), the event, and whether it ran on the CPU."""
    for plane in profile.planes:
        for number, line in enumerate(plane.lines):
            for event in line.events:
                yield (plane.name, number, line.name), event, plane.name.startswith("/host")


def _array(leaf: Any) -> Any:
    """Returns an array that was given, or zeros for a shape."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)
