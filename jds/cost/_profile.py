"""Measures the time of a program and of its layers, using JAX's profiler to time XLA's instructions."""

import bisect
import collections
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich import box
from rich.console import RenderableType
from rich.table import Table

from jds._common.text import as_text
from jds._common.traceable import Traceable, as_traceable
from jds.cost._timing import Spread, measure, spread
from jds.cost.hlo import instructions

_RUN = "jds: one run"


class Measurement(NamedTuple):
    """Measured times of a program, in seconds per call; prints as a table.

    Attributes:
      total: time from the call to its results.
      layers: time in the instructions of each layer, summed over threads. An instruction that XLA fused from several
        layers belongs to the layer that XLA names it after; a layer without instructions is missing.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> measured = cost.measure_program(jnp.sin, jnp.ones(9), seconds=0.0)
      >>> measured.total.low <= measured.total.median
      True
    """

    total: Spread
    layers: dict[str, Spread]

    def table(self) -> Table:
        """Returns medians and half the interquartile ranges as a table, for Rich to print."""
        lines = Table(box=box.SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0))
        lines.add_column("layer", overflow="fold")
        lines.add_column("µs measured", justify="right")
        for name, seconds in self.layers.items():
            lines.add_row(name or "(no layer)", _cell(seconds))
        lines.add_section()
        lines.add_row("total", _cell(self.total))
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Returns all times as a dictionary that `json` can write."""
        layers = {name: seconds._asdict() for name, seconds in self.layers.items()}
        return {"total": self.total._asdict(), "layers": layers}

    def __rich__(self) -> RenderableType:
        return self.table()

    def __str__(self) -> str:
        return as_text(self)


def _cell(seconds: Spread) -> str:
    return f"{seconds.median * 1e6:.4g} ±{seconds.half_width * 1e6:.2g}"


def measure_program(
    fun: Callable[..., Any] | Traceable, *args: Any, seconds: float = 1.0, **kwargs: Any
) -> Measurement:
    """Measures the time of a program and of its layers, with zeros for all arrays.

    Args:
      fun: a function, jitted or not, or an NNX module.
      *args: its arguments, as in `analyze`; only their shapes and dtypes matter.
      seconds: approximate duration of each of the two measurements, of the program and of its layers, excluding
        compilation.
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
    compiled = program.compiled
    zeros = tuple(map(_zeros, program.arrays))
    total = spread(measure({"program": (compiled, zeros)}, seconds=seconds)["program"])
    runs = max(3, min(1000, round(seconds / total.median)))
    layer_of = {instruction.name: instruction.layer for instruction in instructions(compiled)}
    return Measurement(total, _by_layer(_profiled(compiled, zeros, runs), layer_of))


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


def _by_layer(profile: Any, layer_of: Mapping[str, str]) -> dict[str, Spread]:
    runs = sorted(event.start_ns for event, _ in _events(profile) if event.name == _RUN)
    seconds: dict[str, list[float]] = collections.defaultdict(lambda: [0.0] * len(runs))
    for event, on_host in _events(profile):
        # On the CPU, an event has the instruction's name; on GPUs it is a kernel, with the instruction's name as a
        # stat.
        name = event.name if on_host else dict(event.stats).get("hlo_op", event.name)
        layer, run = layer_of.get(str(name)), bisect.bisect(runs, event.start_ns) - 1
        if layer is not None and run >= 0:
            seconds[layer][run] += event.duration_ns / 1e9
    return {layer: spread(values) for layer, values in seconds.items()}


def _events(profile: Any) -> Iterator[tuple[Any, bool]]:
    """Yields all events, and whether they ran on the CPU."""
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                yield event, plane.name.startswith("/host")


def _zeros(leaf: Any) -> jax.Array:
    aval = jax.typeof(leaf) if not isinstance(leaf, jax.ShapeDtypeStruct) else leaf
    if jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), aval.shape)
    return jnp.zeros(aval.shape, aval.dtype)
