"""Times the depthwise step: jds's default against XLA's own convolution, taking turns.

    python -m benchmarks.ops

Forward pass, input gradient and kernel gradient of each distinct depthwise layer of MobileNet V1 at 224×224, float32,
batches 1 and 16, on this machine's CPU. Prints how many times faster the default is, and writes every sample to
`benchmarks/results/ops.json`. Takes about six minutes on 2 cores; leave the machine alone meanwhile.
"""

import dataclasses
import datetime
import functools
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

import jds
from benchmarks.workloads import MOBILENET_V1, Workload
from jds import cost

# What the library promises: geometric mean, and for any one layer, of how many times faster it is.
TARGETS = {"forward": (10, 3), "input gradient": (10, 10), "kernel gradient": (4, 1.5)}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times the depthwise step: jds's default against XLA's own convolution, taking turns."""

    batches: tuple[int, ...] = (1, 16)
    seconds: float = 3.0
    """About how long to measure each pair."""
    out: Path = Path("benchmarks/results/ops.json")


def passes(workload: Workload, batch: int, implementation: Any) -> dict[str, tuple[Callable, tuple]]:
    """The three programs of a layer, each jitted, with their arguments."""
    rng = np.random.default_rng(0)
    size = (workload.kernel,) * 2
    shapes = [(batch, workload.size, workload.size, workload.features), (*size, 1, workload.features)]
    inputs, kernel = (jax.numpy.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes)
    call = functools.partial(jds.depthwise_conv, strides=workload.stride, implementation=implementation)
    cotangent = jax.numpy.asarray(rng.standard_normal(jax.eval_shape(call, inputs, kernel).shape, np.float32))

    def input_gradient(kernel, cotangent):
        return jax.linear_transpose(lambda x: call(x, kernel), inputs)(cotangent)

    def kernel_gradient(inputs, cotangent):
        return jax.linear_transpose(lambda k: call(inputs, k), kernel)(cotangent)

    return {
        "forward": (jax.jit(call), (inputs, kernel)),
        "input gradient": (jax.jit(input_gradient), (kernel, cotangent)),
        "kernel gradient": (jax.jit(kernel_gradient), (inputs, cotangent)),
    }


def compare(workload: Workload, batch: int, name: str, seconds: float) -> dict[str, Any]:
    """Times one pass in both ways, after making sure that they agree."""
    contenders = {
        label: passes(workload, batch, implementation)[name]
        for label, implementation in (("default", None), ("xla", "xla"))
    }
    results = [np.asarray(jax.tree.leaves(fun(*arguments))[0]) for fun, arguments in contenders.values()]
    np.testing.assert_allclose(*results, rtol=0, atol=1e-4 * np.abs(results[1]).max())
    samples = cost.measure(contenders, seconds=seconds)
    faster = cost.spread(cost.ratios(samples["xla"], samples["default"]))
    return {
        "workload": workload._asdict(),
        "batch": batch,
        "pass": name,
        "times_faster": faster._asdict(),
        "seconds": {label: cost.spread(values)._asdict() for label, values in samples.items()},
        "samples": samples,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Geometric mean and least value of the medians, for each pass."""
    out = {}
    for name in TARGETS:
        medians = [row["times_faster"]["median"] for row in rows if row["pass"] == name]
        out[name] = {"geometric_mean": statistics.geometric_mean(medians), "least": min(medians)}
    return out


def table(rows: list[dict[str, Any]]) -> Table:
    out = Table("layer", "batch", *TARGETS, title="Times faster than XLA's own: median (default ms / XLA's ms)")
    for workload, batch in dict.fromkeys((row["workload"]["name"], row["batch"]) for row in rows):
        cells = []
        for row in rows:
            if (row["workload"]["name"], row["batch"]) == (workload, batch):
                default, xla = (row["seconds"][label]["median"] * 1e3 for label in ("default", "xla"))
                cells.append(f"{row['times_faster']['median']:.1f} ({default:.2f} / {xla:.1f})")
        out.add_row(workload, str(batch), *cells)
    return out


def main(settings: Settings) -> None:
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    todo = [(w, batch, name) for batch in settings.batches for w in MOBILENET_V1 for name in TARGETS]
    progress = track(todo, description="measuring", console=Console(stderr=True), auto_refresh=False, transient=True)
    rows = [compare(*one, settings.seconds) for one in progress]
    found = summary(rows)
    record = {
        "schema": {"name": "jds.benchmarks.ops", "version": 1},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": cost.machine_facts() | {"jds": jds.__version__},
        "summary": found,
        "rows": rows,
    }
    beside = settings.out.with_name(f".{settings.out.name}.{os.getpid()}")
    beside.write_text(json.dumps(record) + "\n")
    os.replace(beside, settings.out)
    console = Console()
    console.print(table(rows))
    for name, (mean, least) in TARGETS.items():
        got = found[name]
        verdict = "met" if got["geometric_mean"] >= mean and got["least"] >= least else "MISSED"
        console.print(
            f"{name}: geometric mean {got['geometric_mean']:.1f} (at least {mean}), "
            f"slowest layer {got['least']:.1f} (at least {least}): {verdict}"
        )


if __name__ == "__main__":
    main(tyro.cli(Settings))
