"""Devices and their peak rates: published, or measured on this machine."""

import contextlib
import difflib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jds._common.files import write_atomically
from jds.cost._machine import machine_facts


class Peak(NamedTuple):
    """The peak rates of a device.

    Attributes:
      name: the device and its arithmetic.
      flops: floating-point operations per second.
      bytes: memory bandwidth in bytes per second.
      source: source of the figures.

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
# Two pipes of 128 bits, each with a float32 multiply-add per cycle: http://techarx.com/cortex-a76-in-depth/ and
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


def find_device(name: str) -> Peak:
    """Returns the peak rates of a device in `jds.cost.DEVICES`, or, for `"this"`, measures the current machine.

    Raises:
      ValueError: there is no such device.

    Example:
      >>> from jds import cost
      >>> cost.find_device("a100").flops
      19500000000000.0
    """
    if name == "this":
        return measure_peak()
    if fault := device_fault(name):
        raise ValueError(f"find_device: `name` {fault}")
    return DEVICES[name]


def device_fault(name: str) -> str | None:
    """Returns an error message for an unknown device name, or None for a known one."""
    if name == "this" or name in DEVICES:
        return None
    (near,) = difflib.get_close_matches(name, DEVICES, n=1, cutoff=0)
    return f"must be this or one of {', '.join(DEVICES)}, got {name!r}; did you mean {near}?"


def measure_peak(*, again: bool = False) -> Peak:
    """Measures the peak rates of the device that JAX uses, once.

    The arithmetic rate is the higher of the rates of matrix products and of chains of multiply-adds; the memory rate is
    the rate of adding to an array in place.

    Args:
      again: measure even if an earlier result is cached (in `~/.cache/jds`, or under `$XDG_CACHE_HOME`). Results on a
        busy machine are too low; therefore the higher of the old and new rates is kept.

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
    return Peak(f"{key}, float32", **kept[key], source="measured on this machine: multiply-adds, and an in-place sum")


def _read(file: Path) -> dict[str, dict[str, float]]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # missing or damaged: the rates are measured again


def _write(file: Path, kept: dict[str, dict[str, float]]) -> None:
    # Without a writable folder, the rates are measured every time, which takes a second.
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
    """Returns the rate of independent chains of multiply-adds in registers."""

    @jax.jit
    def run(x: jax.Array) -> jax.Array:
        values = [x + i for i in range(chains)]
        for _ in range(steps):
            values = [value * x + 0.001 for value in values]
        return sum(values, x)

    numbers = jnp.full(size, 0.5)
    return 2 * size * chains * steps / _fastest(lambda: run(numbers).block_until_ready())


def _memory_rate(size: int = 2**26) -> float:
    # In place, because page faults on a new array would cost more than the sum.
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
