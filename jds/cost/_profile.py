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
from jds.cost._analyze import count
from jds.cost._measurement import CALL, NOT_ATTRIBUTED, Measurement
from jds.cost._program import Conventions
from jds.cost._timing import Spread, measure, spread
from jds.cost.hlo import layers_of_instructions

_RUN = "jds: one run"
_MOST_RUNS = 50


def measure_program(
    fun: Callable[..., Any] | Traceable, *args: Any, seconds: float = 1.0, **kwargs: Any
) -> Measurement:
    """Measures the time of a program and of its layers.

    Args:
      fun: a function, jitted or not, or an NNX module.
      *args: its arguments, as in `analyze`; zeros stand for those that have only a shape and a dtype.
      seconds: approximate duration of the measurement of the program, excluding compilation; that of its layers takes
        at most as long again, and more for programs with many instructions.
      **kwargs: its keyword arguments, like `args`.

    Returns:
      The times.

    Raises:
      ValueError, TypeError: the function cannot be traced with these arguments.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jds import cost
      >>> cost.measure_program(jnp.sin, jax.ShapeDtypeStruct((9,), jnp.float32), seconds=0.0).total.median > 0
      True
    """
    program = as_traceable(fun, args, kwargs)
    rows = count(program, Conventions(True, jax.default_backend(), None)).by("layer")
    # A loop outside of all layers is no row, but takes time of its own.
    layers = {"", *(row.name for row in rows)}
    compiled = program.compiled
    arrays = tuple(map(_array, program.arrays))
    total = spread(measure({"program": (compiled, arrays)}, seconds=seconds)["program"])
    runs = max(3, min(_MOST_RUNS, round(seconds / total.median)))
    attributed = _by_layer(_profiled(compiled, arrays, runs), layers_of_instructions(compiled, layers))
    wholes = [sum(run.values()) for run in attributed]
    return Measurement(total, _scaled(attributed, wholes, total.median), spread(wholes))


def _scaled(runs: Sequence[Mapping[str, float]], wholes: Sequence[float], total: float) -> dict[str, Spread]:
    """Returns the layers' shares of the runs, as times whose medians add up to the total."""
    names = list(dict.fromkeys(name for run in runs for name in run))
    shares = {
        name: spread([run.get(name, 0.0) / whole for run, whole in zip(runs, wholes, strict=True)]) for name in names
    }
    scale = total / sum(share.median for share in shares.values())
    return {name: Spread(*(part * scale for part in share)) for name, share in shares.items()}


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


class _Event(NamedTuple):
    start: float
    end: float
    layer: str


def _by_layer(profile: Any, layer_of: Mapping[str, str]) -> list[dict[str, float]]:
    """Returns, for each run, the seconds that each layer took."""
    runs: list[tuple[float, float]] = []
    threads: dict[Any, list[_Event]] = collections.defaultdict(list)
    for thread, event, on_host in _events(profile):
        end = event.start_ns + event.duration_ns
        if event.name == _RUN:
            runs.append((event.start_ns, end))
            continue
        # On the CPU, an event has the instruction's name; on GPUs it is a kernel, with the instruction's name as a
        # stat.
        name = event.name if on_host else str(dict(event.stats).get("hlo_op", event.name))
        if name in layer_of:
            threads[thread].append(_Event(event.start_ns, end, layer_of[name]))
    runs.sort()
    starts = [start for start, _ in runs]
    pieces: list[list[_Event]] = [[] for _ in runs]
    for piece in sorted(piece for events in threads.values() for piece in _innermost(events)):
        run = bisect.bisect(starts, piece.start) - 1
        if run >= 0:
            pieces[run].append(piece)
    return [_shares(inside, start, end) for inside, (start, end) in zip(pieces, runs, strict=True)]


def _innermost(events: list[_Event]) -> Iterator[_Event]:
    """Splits the events of one thread, some of which contain others, into pieces of the innermost ones."""
    open_events: list[_Event] = []
    now = 0.0

    def close_until(limit: float) -> Iterator[_Event]:
        nonlocal now
        while open_events and open_events[-1].end <= limit:
            inner = open_events.pop()
            if inner.end > now:
                yield _Event(now, inner.end, inner.layer)
                now = inner.end

    for event in sorted(events, key=lambda event: (event.start, -event.end)):
        yield from close_until(event.start)
        if open_events and event.start > now:
            yield _Event(now, event.start, open_events[-1].layer)
        now = event.start
        open_events.append(event)
    yield from close_until(float("inf"))


def _shares(pieces: Iterable[_Event], start: float, end: float) -> dict[str, float]:
    """Returns the seconds of each layer between two times; pieces at the same time share it."""
    inside = [piece for piece in pieces if piece.start < end]
    seconds: dict[str, float] = collections.defaultdict(float)
    if not inside:
        return {NOT_ATTRIBUTED: (end - start) / 1e9}
    first, last = max(start, inside[0].start), min(end, max(piece.end for piece in inside))
    seconds[CALL] = (first - start + end - last) / 1e9
    changes = sorted(
        [(max(piece.start, first), 1, piece.layer) for piece in inside]
        + [(min(piece.end, last), -1, piece.layer) for piece in inside]
    )
    running: collections.Counter[str] = collections.Counter()
    now, count = first, 0
    for time, change, layer in changes:
        passed = (time - now) / 1e9
        if passed and not count:
            seconds[NOT_ATTRIBUTED] += passed
        for name, number in running.items() if passed and count else ():
            seconds[name] += passed * number / count
        now, count = time, count + change
        running[layer] += change
    return dict(seconds)


def _events(profile: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Yields each event's thread, the event, and whether it ran on the CPU."""
    for plane in profile.planes:
        for line_number, line in enumerate(plane.lines):
            for event in line.events:
                yield (plane.name, line_number), event, plane.name.startswith("/host")


def _array(leaf: Any) -> Any:
    """Returns an array that was given, or zeros for a shape."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)
