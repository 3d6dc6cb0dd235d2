"""Counts and times a layer in its ordinary and depthwise separable forms."""

import dataclasses
import datetime
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Group, RenderableType

import jds
from jds._common.text import as_text
from jds.cost import (
    Layer,
    LayerStep,
    Multiplications,
    Spread,
    XlaInstruction,
    machine_facts,
    measure,
    multiplications,
    ratios,
    spread,
    xla,
)

SCHEMA = {"name": "jds.compare", "version": 3}

# How a layer is computed: as an ordinary convolution, or as a separable one by jds or by XLA.
FORMS = ("ordinary", "jds", "xla_grouped")

# A call that computes almost nothing still takes time. A measurement shorter than this many times that time says more
# about dispatch than about arithmetic.
_DISPATCH_FACTOR = 3
# On the CPU, XLA runs a program of less than 1000 FLOPs in the calling thread and all others in another thread, which
# takes several times as long. The program that measures dispatch must exceed this limit.
_DISPATCH_FLOPS = 2000

_Contender = tuple[Callable[..., Any], tuple[jax.Array, ...]]


class XlaFlops(NamedTuple):
    """XLA's counts of floating-point operations per call; None if unknown, because foreign code runs.

    Attributes:
      lowered: count for the program that JAX passes to XLA.
      compiled: count for the program that XLA runs.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import compare
      >>> compare.xla_flops(jnp.add, jnp.ones(8), jnp.ones(8))
      XlaFlops(lowered=8.0, compiled=8.0)
    """

    lowered: float | None
    compiled: float | None


@dataclasses.dataclass(frozen=True)
class LayerComparison:
    """Counts and times of one layer in all its forms.

    Attributes:
      layer: the layer's sizes.
      batch: number of examples.
      flops: XLA's counts for each of `FORMS`.
      samples: seconds per call for each of `FORMS` and for `"dispatch"`, a jitted function that computes almost
        nothing; one sample per round.

    Example:
      >>> from jds import compare, cost
      >>> found = compare.compare_layer(cost.Layer("classifier", (1, 64), 10, (1,), separable=False), seconds=0.0)
      >>> found.seconds("ordinary").median > 0, found.time_ratio().median
      (True, 1.0)
    """

    layer: Layer
    batch: int
    flops: dict[str, XlaFlops]
    samples: dict[str, tuple[float, ...]]

    @property
    def multiplications(self) -> Multiplications:
        """Multiplications of the two forms."""
        return multiplications(self.layer, batch=self.batch)

    def seconds(self, form: str) -> Spread:
        """Returns the time per call, in seconds."""
        return spread(self.samples[form])

    def time_ratio(self, form: str = "jds") -> Spread:
        """Returns the ratio of a form's time to the ordinary form's, computed per round."""
        return spread(ratios(self.samples[form], self.samples["ordinary"]))

    @property
    def is_mostly_dispatch(self) -> bool:
        """Whether the layer is too small for its measured ratio to say much about its arithmetic."""
        fastest = min(self.seconds(form).median for form in ("ordinary", "jds"))
        return fastest < _DISPATCH_FACTOR * self.seconds("dispatch").median


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A comparison of the layers of a network, or of a single layer; prints as tables.

    Attributes:
      title: what was compared.
      rows: one row per layer.

    Example:
      >>> from jds import compare, cost
      >>> layers = [cost.Layer(name, (6, 6, 3), 5, (3, 3)) for name in ("one", "other")]
      >>> found = compare.Comparison("example", tuple(compare.compare_layer(layer, seconds=0.0) for layer in layers))
      >>> found.multiplications
      Multiplications(ordinary=9720, separable=3024)
    """

    title: str
    rows: tuple[LayerComparison, ...]

    @property
    def multiplications(self) -> Multiplications:
        """Multiplications of the two forms in all layers."""
        return Multiplications(*map(sum, zip(*(row.multiplications for row in self.rows), strict=True)))

    def flops(self, form: str) -> XlaFlops:
        """Returns XLA's counts for all layers; None if one of them is unknown."""
        columns = zip(*(row.flops[form] for row in self.rows), strict=True)
        return XlaFlops(*(None if None in column else sum(column) for column in columns))

    def seconds(self, form: str) -> float:
        """Returns the sum of the layers' median times, in seconds."""
        return sum(row.seconds(form).median for row in self.rows)

    def time_ratio(self, form: str = "jds") -> float:
        """Returns the ratio of these sums, a form's to the ordinary form's; for a single layer, its own ratio."""
        if len(self.rows) == 1:
            return self.rows[0].time_ratio(form).median
        return self.seconds(form) / self.seconds("ordinary")

    def plot(self, path: Path) -> None:
        """Plots the ratio in theory and in measured time, for each layer and in total.

        Args:
          path: the file to write; its suffix selects the format, such as `.png`, `.svg` or `.pdf`.
        """
        # Imported here, because Matplotlib is slower to import than jds.
        from jds.compare import _plot

        _plot.plot(self, path)

    def __rich__(self) -> RenderableType:
        from jds.compare import _text  # this module imports the class above

        tables = _text.counts_table(self), "", _text.times_table(self), ""
        return Group(*tables, *_text.notes(self), f"{self.finding}.")

    def __str__(self) -> str:
        return as_text(self)

    @property
    def setting(self) -> str:
        """The dtype, the machine and the software versions."""
        facts = machine_facts()
        device = f"{facts['cpu']}, {facts['cores']} cores" if facts["backend"] == "cpu" else facts["device"]
        return f"float32, {device}, JAX {facts['jax']}, jds {jds.__version__}"

    @property
    def finding(self) -> str:
        """The result in one sentence."""
        if all(row.is_mostly_dispatch for row in self.rows):
            return "Too small to tell: dispatch dominates the time of a call"
        jds_ratio, xla_ratio = self.time_ratio("jds"), self.time_ratio("xla_grouped")
        return (
            f"{float(self.multiplications.ratio):.3f} of the multiplications take {jds_ratio:.3f} of the time with "
            f"jds, {xla_ratio:.3f} with XLA's grouped convolution"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all counts, times and samples as a dictionary that `json` can write."""
        return {
            "schema": SCHEMA,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine_facts() | {"jds": jds.__version__},
            "timer": "time.perf_counter around calls, each waited for; a sample is the mean of several calls",
            "title": self.title,
            "dtype": "float32",
            "rows": [_row_dict(row) for row in self.rows],
            "total": {
                "multiplications": self.multiplications._asdict(),
                "theoretical_ratio": float(self.multiplications.ratio),
                "xla_flops": {form: self.flops(form)._asdict() for form in FORMS},
                "seconds": {form: self.seconds(form) for form in FORMS},
                "time_ratio": {form: self.time_ratio(form) for form in FORMS},
            },
        }


def compare_layer(layer: Layer, *, batch: int = 1, seconds: float = 1.0) -> LayerComparison:
    """Counts and times a layer in all its forms, in float32.

    A layer that is not separable has only one form, which is used for all.

    Args:
      layer: the layer's sizes.
      batch: number of examples.
      seconds: approximate duration of the measurement, excluding compilation.

    Returns:
      The layer's row.

    Example:
      >>> from jds import compare, cost
      >>> row = compare.compare_layer(cost.Layer("example", (6, 6, 3), 5, (3, 3), padding="VALID"), seconds=0.0)
      >>> row.multiplications
      Multiplications(ordinary=2160, separable=672)
    """
    forms = _forms(layer, batch)
    flops = {form: xla_flops(fun, *arguments) for form, (fun, arguments) in forms.items()}
    dispatch = jax.jit(lambda vector: vector + 1), (jnp.zeros(_DISPATCH_FLOPS),)
    samples = measure({**forms, "dispatch": dispatch}, seconds=seconds)
    for form in FORMS:
        flops.setdefault(form, flops["ordinary"])
        samples.setdefault(form, samples["ordinary"])
    return LayerComparison(layer, batch, flops, samples)


def xla_flops(fun: Callable[..., Any], *args: Any) -> XlaFlops:
    """Returns XLA's counts of floating-point operations of a function; it has none if foreign code runs.

    Args:
      fun: a function of arrays, jitted or not.
      *args: its arguments: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      The two counts, in FLOPs.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import compare
      >>> compare.xla_flops(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4))).lowered  # 2 * 8 * 16 * 4
      1024.0
    """
    view = xla(fun, *args)

    def known(flops: float | None, instructions: Sequence[XlaInstruction]) -> float | None:
        return None if any(instruction.flops is None for instruction in instructions) else flops

    return XlaFlops(known(view.lowered.flops, view.lowered_instructions), known(view.compiled.flops, view.instructions))


def _forms(layer: Layer, batch: int) -> dict[str, _Contender]:
    """Returns, for each form of a layer, a jitted function and its arguments."""
    rng = np.random.default_rng(0)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, np.float32))

    between = layer.in_features * layer.channel_multiplier
    ones = (1,) * len(layer.kernel_size)
    options: Any = {
        "strides": layer.strides,
        "padding": layer.padding,
        "kernel_dilation": layer.kernel_dilation,
    }
    inputs = array(batch, *layer.input_size)
    groups = layer.feature_group_count
    kernel = array(*layer.kernel_size, layer.in_features // groups, layer.out_features)
    convolve = functools.partial(jds.conv, **options, feature_group_count=groups, implementation="xla")
    ordinary = jax.jit(convolve), (inputs, kernel)
    if not layer.separable:
        return {"ordinary": ordinary}
    arguments = (
        inputs,
        array(*layer.kernel_size, 1, between),
        array(*ones, between, layer.out_features),
    )
    return {
        "ordinary": ordinary,
        "jds": (jax.jit(functools.partial(jds.separable_conv, **options)), arguments),
        "xla_grouped": (
            jax.jit(functools.partial(jds.separable_conv, **options, implementation="xla")),
            arguments,
        ),
    }


def _row_dict(row: LayerComparison) -> dict[str, Any]:
    return {
        "layer": dataclasses.asdict(row.layer) | {"output_size": row.layer.output_size},
        "batch": row.batch,
        "steps": {
            "ordinary": _steps(row.layer.ordinary_steps(row.batch)),
            "separable": _steps(row.layer.separable_steps(row.batch)),
        },
        "multiplications": row.multiplications._asdict(),
        "theoretical_ratio": float(row.multiplications.ratio),
        "xla_flops": {form: flops._asdict() for form, flops in row.flops.items()},
        "seconds": {name: row.seconds(name)._asdict() for name in row.samples},
        "time_ratio": {form: row.time_ratio(form)._asdict() for form in FORMS},
        "is_mostly_dispatch": row.is_mostly_dispatch,
        "samples": row.samples,
    }


def _steps(steps: Sequence[LayerStep]) -> list[dict[str, Any]]:
    return [step._asdict() | {"multiplications": step.multiplications} for step in steps]
