"""The least time that a program can take on a device: its operations, and its bytes, at the device's peak rates.

Roofline: Williams et al., https://doi.org/10.1145/1498765.1498785.
"""

import contextlib
import difflib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jds._common.files import write_atomically
from jds.cost._analysis import Analysis, By, Row
from jds.cost._machine import machine_facts
from jds.cost._profile import Measurement
from jds.cost._timing import Spread


class Peak(NamedTuple):
    """What a device can do at most.

    Attributes:
      name: of the device and the arithmetic.
      flops: floating-point operations a second.
      bytes: that its memory gives or takes in a second.
      source: where the figures are from.

    Example:
      >>> from jds import cost
      >>> peak = cost.Peak("my device", flops=1e12, bytes=1e11, source="its maker")
      >>> peak.flops / peak.bytes
      10.0
    """

    name: str
    flops: float
    bytes: float
    source: str


_H100 = "https://glennklockwood.com/garden/processors/h100"
_A100 = "https://glennklockwood.com/garden/processors/A100"
_TPU = "https://cloud.google.com/tpu/docs/v5e"
_A15 = "https://askgeek.io/en/cpus/Apple/A15-Bionic"
_A15_NPU = "https://www.cpu-monkey.com/es/cpu-apple_a15_bionic_4_gpu"
_GEN_3 = "https://runlocalai.co/hardware/snapdragon-8-gen-3"
_SNAPDRAGON_855 = "https://en.wikichip.org/wiki/qualcomm/snapdragon_800/855"
_RASPBERRY = "https://circuitdigest.com/news/the-new-raspberry-pi-5-is-here-faster-than-ever"
# Two pipes of 128 bits, each with a multiply-add of float32 a cycle: http://techarx.com/cortex-a76-in-depth/ and
# https://www.systemonchips.com/arm-cortex-a76-floating-point-performance-analysis-and-optimization.
_CORTEX_A76 = 2 * 4 * 2

DEVICES: dict[str, Peak] = {
    "h100": Peak("NVIDIA H100 SXM, float32", 66.9e12, 3.35e12, _H100),
    "h100_bfloat16": Peak("NVIDIA H100 SXM, bfloat16", 989.4e12, 3.35e12, _H100),
    "a100": Peak("NVIDIA A100 SXM 80 GB, float32", 19.5e12, 2.039e12, _A100),
    "a100_bfloat16": Peak("NVIDIA A100 SXM 80 GB, bfloat16", 312e12, 2.039e12, _A100),
    "tpu_v5e": Peak("Google TPU v5e, bfloat16", 197e12, 0.819e12, _TPU),
    "apple_a15_gpu": Peak("Apple A15 (iPhone 13 Pro), GPU, float32", 1.713e12, 34.1e9, _A15),
    "apple_a15_npu": Peak("Apple A15 (iPhone 13), Neural Engine", 15.8e12, 34.1e9, _A15_NPU),
    "snapdragon_8_gen_3_npu": Peak("Qualcomm Snapdragon 8 Gen 3, NPU, int8", 45e12, 76.8e9, _GEN_3),
    "snapdragon_855_cpu": Peak(
        # LPDDR4X-4266, four channels of 16 bits.
        "Qualcomm Snapdragon 855, its four large CPU cores, float32",
        _CORTEX_A76 * (2.84e9 + 3 * 2.42e9),
        4266e6 * 8,
        _SNAPDRAGON_855,
    ),
    # LPDDR4X-4267, 32 bits.
    "raspberry_pi_5": Peak("Raspberry Pi 5, CPU, float32", _CORTEX_A76 * 4 * 2.4e9, 4267e6 * 4, _RASPBERRY),
}

Limit = Literal["arithmetic", "memory"]


class Bound(NamedTuple):
    """The least time of a layer, or of a whole program.

    Attributes:
      name: as in `jds.cost.Row`.
      seconds: no less than this, if nothing that lies between its equations goes to memory.
      limit: which of the two peaks it is that holds it.
      measured: the median time, in seconds; None where none was measured.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.estimate(found, cost.Peak("made up", flops=1024, bytes=1024, source="")).total.limit
      'arithmetic'
    """

    name: str
    seconds: float
    limit: Limit
    measured: float | None = None

    @property
    def share(self) -> float | None:
        """Of the time, that which is bound to be; above 1 where arrays stay in a cache, or others do a part."""
        return self.seconds / self.measured if self.measured else None


class Estimate(NamedTuple):
    """Lower bounds of the time that a program takes.

    Attributes:
      peak: of the device.
      total: of the whole program, if all between its arguments and results stays on the chip.
      rows: each by itself; where a layer's inputs stay on the chip, it may take less.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> [row.seconds for row in cost.estimate(found, cost.Peak("made up", flops=512, bytes=1024, source="")).rows]
      [2.0]
    """

    peak: Peak
    total: Bound
    rows: tuple[Bound, ...]


def find_device(name: str) -> Peak:
    """Returns the peak rates of a device: one of `jds.cost.DEVICES`, or `"this"`, the machine that this runs on.

    Raises:
      ValueError: there is no such device.

    Example:
      >>> from jds import cost
      >>> cost.find_device("a100").flops
      19500000000000.0
    """
    if name == "this":
        return measure_peak()
    if name not in DEVICES:
        (near,) = difflib.get_close_matches(name, DEVICES, n=1, cutoff=0)
        raise ValueError(f"device: must be this or one of {', '.join(DEVICES)}, got {name!r}; did you mean {near}?")
    return DEVICES[name]


def estimate(analysis: Analysis, device: Peak | str, by: By = "layer", measured: Measurement | None = None) -> Estimate:
    """Bounds the time of a program from below, as a whole and row by row.

    Exponentials and the like cost nothing here, nor do operations on integers; all else runs at its peak. Of a program
    that `shard_map` divides among several devices, the bound is that of one.

    Args:
      analysis: what the program costs.
      device: its peak rates, or its name, as for `find_device`.
      by: what a row is.
      measured: the time that the same program takes on this device, to be set beside the bounds; rows have one by
        `"layer"` only.

    Returns:
      The bounds.

    Raises:
      ValueError: there is no such device.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> found = cost.analyze(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
      >>> cost.estimate(found, cost.Peak("made up", flops=1024, bytes=1024, source="")).total
      Bound(name='total', seconds=1.0, limit='arithmetic', measured=None)
    """
    peak = find_device(device) if isinstance(device, str) else device
    layers = measured.layers if measured and by == "layer" else {}
    rows = tuple(_bound(row, peak, layers.get(row.name)) for row in analysis.by(by))
    # Of arguments and results that lie on several devices, one has its part.
    devices = max((operation.devices for operation in analysis.operations), default=1)
    total = analysis.total._replace(traffic=analysis.total.traffic // devices)
    return Estimate(peak, _bound(total, peak, measured.total if measured else None), rows)


def _bound(row: Row, peak: Peak, measured: Spread | None) -> Bound:
    arithmetic, memory = row.per_device.flops / peak.flops, row.traffic / peak.bytes
    limit: Limit = "arithmetic" if arithmetic >= memory else "memory"
    return Bound(row.name, max(arithmetic, memory), limit, measured.median if measured else None)


def measure_peak(*, again: bool = False) -> Peak:
    """Measures the peak rates of the device that JAX uses, once: matrix products or chains of multiply-adds, whichever
    is faster, and numbers that are added to.

    Args:
      again: measure, though an earlier result is kept (in `~/.cache/jds`, or under `$XDG_CACHE_HOME`). What was
        measured while others used the machine is too low: of both results the higher rates stay.

    Returns:
      The rates, in float32.

    Example:
      >>> from jds import cost
      >>> cost.measure_peak().bytes > 0
      True
    """
    facts = machine_facts()
    chip = f"{facts['cpu']}, {facts['cores']} cores" if facts["backend"] == "cpu" else facts["device"]
    key = f"{chip}, JAX {facts['jax']}"
    file = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jds" / "peaks.json"
    kept = _read(file)
    if again or key not in kept:
        found, before = {"flops": _arithmetic_rate(), "bytes": _memory_rate()}, kept.get(key, {})
        kept[key] = {name: max(rate, before.get(name, 0.0)) for name, rate in found.items()}
        _write(file, kept)
    return Peak(f"{key}, float32", **kept[key], source="measured here: multiply-adds, and a sum in place")


def _read(file: Path) -> dict[str, dict[str, float]]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # absent, or of no use: it is measured again


def _write(file: Path, kept: dict[str, dict[str, float]]) -> None:
    # Without a folder that can be written, the rates are measured each time: a second.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda path: path.write_text(json.dumps(kept, indent=1), encoding="utf-8"))


def _arithmetic_rate() -> float:
    return max(*(_product_rate(size) for size in (512, 1024, 2048)), _chain_rate())


def _product_rate(size: int) -> float:
    matrix = jnp.ones((size, size))
    multiply = jax.jit(jnp.dot)
    return 2 * size**3 / _fastest(lambda: multiply(matrix, matrix).block_until_ready())


def _chain_rate(size: int = 2**18, chains: int = 8, steps: int = 64) -> float:
    """Of chains of multiply-adds that do not wait for each other, in registers."""

    @jax.jit
    def run(x: jax.Array) -> jax.Array:
        values = [x + i for i in range(chains)]
        for _ in range(steps):
            values = [value * x + 0.001 for value in values]
        return sum(values, x)

    numbers = jnp.full(size, 0.5)
    return 2 * size * chains * steps / _fastest(lambda: run(numbers).block_until_ready())


def _memory_rate(size: int = 2**26) -> float:
    # In place: new pages would cost more than the sum.
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    held = [jnp.zeros(size)]

    def run():
        held[0] = add(held[0]).block_until_ready()

    return 2 * 4 * size / _fastest(run)


def _fastest(run: Callable[[], object], seconds: float = 0.5) -> float:
    run()
    found, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < seconds or found == float("inf"):
        begin = time.perf_counter()
        run()
        found = min(found, time.perf_counter() - begin)
    return found
