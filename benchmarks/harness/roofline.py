"""How close each depthwise layer comes to the machine's limits: a measured copy and a measured matrix product.

Roofline: Williams et al., https://doi.org/10.1145/1498765.1498785. A layer's data may stay in a cache, where memory
bandwidth is not the limit; so each layer is compared with a repeated copy of as many bytes as it reads and writes.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich.table import Table

import jds
from benchmarks.harness.contenders import Contender
from benchmarks.harness.contest import Case, Result
from benchmarks.harness.workloads import Workload
from benchmarks.peers.in_numpy import copies
from jds import cost

COPY = Contender("numpy", "NumPy", "benchmarks.peers.in_numpy:copy")
PRODUCT = Contender("jax", "JAX", "benchmarks.peers.in_jax:op", {"implementation": None})
# Bytes read and written by the large copy, far beyond any cache; rows and columns of the matrices.
LARGE, SIZE = 2**29, 2048
SHOWN = ("jds", "torch")


class Point(NamedTuple):
    """A layer's forward pass by one contender, and the two roofs: bytes and operations per second."""

    layer: str
    batch: int
    contender: str
    flops: int
    bytes: int
    seconds: float
    copy: float
    product: float

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.flops / self.bytes

    @property
    def share(self) -> float:
        """Speed relative to the lower of the two roofs: 1 if the layer reaches it."""
        return self.flops / self.seconds / min(self.product, self.intensity * self.copy)


def cases(workloads: Sequence[Workload], batches: Sequence[int], able: Sequence[Contender]) -> list[Case]:
    """The copies and the matrix product; the latter by PyTorch too, if it takes part."""
    threads = cost.machine_facts()["cores"]
    sizes = dict.fromkeys(needs(workload, batch).traffic for batch in batches for workload in workloads)
    product = (PRODUCT, *(contender for contender in able if contender.name == "torch"))
    copied = [{"pass": "copy", "bytes": size, "threads": threads} for size in (*sizes, LARGE)]
    multiplied = {"pass": "product", "size": SIZE, "threads": threads}
    return [
        *(Case(f"copy of {spec['bytes']} bytes", spec, (COPY,)) for spec in copied),
        Case("matrix product", multiplied, product),
    ]


def copy_speeds(references: Iterable[Result]) -> dict[int, float]:
    """Bytes read and written per second, by the number of bytes."""
    sizes = {r.case.spec["bytes"]: r.measured["numpy"] for r in references if r.case.spec["pass"] == "copy"}
    return {size: size * copies(size) / measured.seconds.median for size, measured in sizes.items()}


def product_speed(references: Iterable[Result]) -> float:
    """Operations per second of the fastest matrix product."""
    (result,) = (r for r in references if r.case.spec["pass"] == "product")
    return 2 * result.case.spec["size"] ** 3 / min(measured.seconds.median for measured in result.measured.values())


@functools.cache
def needs(workload: Workload, batch: int) -> cost.CostRow:
    """Cost of the depthwise step in theory, in float32."""
    inputs = jax.ShapeDtypeStruct((batch, workload.size, workload.size, workload.features), jnp.float32)
    kernel = jax.ShapeDtypeStruct((workload.kernel, workload.kernel, 1, workload.features), jnp.float32)
    depthwise = functools.partial(jds.depthwise_conv, strides=workload.stride, padding="SAME")
    return cost.analyze(depthwise, inputs, kernel).total


def points(results: Sequence[Result], references: Sequence[Result]) -> list[Point]:
    speeds, product = copy_speeds(references), product_speed(references)
    out = []
    for result in results:
        spec = result.case.spec
        for name in SHOWN if spec["pass"] == "forward" else ():
            if name in result.measured:
                workload = Workload(**spec["workload"])
                row, label = needs(workload, spec["batch"]), result.label(name)
                seconds, speed = result.measured[name].seconds.median, speeds[row.traffic]
                out.append(Point(workload.name, spec["batch"], label, row.flops, row.traffic, seconds, speed, product))
    return out


def table(points: Sequence[Point], references: Sequence[Result]) -> Table:
    title = (
        f"forward, compared with a copy ({copy_speeds(references)[LARGE] / 1e9:.1f} GB/s in memory) "
        f"and a matrix product ({product_speed(references) / 1e9:.0f} GFLOP/s)"
    )
    out = Table("layer", "batch", "contender", title=title, title_justify="left")
    for column in ("FLOP/byte", "GFLOP/s", "of product", "GB/s", "copy GB/s", "of roof"):
        out.add_column(column, justify="right")
    for point in points:
        speeds = point.flops / point.seconds, point.bytes / point.seconds
        out.add_row(
            *(point.layer, str(point.batch), point.contender, f"{point.intensity:.2f}", f"{speeds[0] / 1e9:.1f}"),
            *(f"{speeds[0] / point.product:.0%}", f"{speeds[1] / 1e9:.1f}", f"{point.copy / 1e9:.1f}"),
            f"{point.share:.0%}",
        )
    return out


def entry(points: Sequence[Point], references: Sequence[Result]) -> dict[str, Any]:
    """For the record."""
    return {
        "product_flops_per_second": product_speed(references),
        "large_copy_bytes_per_second": copy_speeds(references)[LARGE],
        "points": [point._asdict() | {"intensity": point.intensity, "share": point.share} for point in points],
    }
