"""Facts about the machine, to record with a measurement."""

import os
import platform
import time
from pathlib import Path

import jax
import jaxlib


def machine_facts() -> dict[str, str | int]:
    """Describes the machine and the software versions that a measurement depends on.

    Returns:
      The CPU model, the number of cores that this process may use, the operating system, JAX's backend and device, the
      versions of Python, JAX and jaxlib, and the XLA flags.

    Example:
      >>> from jds import cost
      >>> cost.machine_facts()["cores"] >= 1
      True
    """
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _cpu_model() -> str:
    # On Linux, `platform.processor()` returns only the architecture or an empty string.
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _cores() -> int:
    # A container often has fewer cores than its machine; not every system provides this information.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_cache() -> int | None:
    """Returns the size in bytes of all last caches that this process may use; None if the system does not tell it."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    found: dict[str, int] = {}
    for core in os.sched_getaffinity(0):
        levels = sorted(Path(f"/sys/devices/system/cpu/cpu{core}/cache").glob("index*"))
        try:
            by_level = {int((each / "level").read_text()): each for each in levels}
            last = by_level[max(by_level)]
            # Cores may share it.
            cores, size = ((last / name).read_text().strip() for name in ("shared_cpu_list", "size"))
            found[cores] = int(size.removesuffix("K")) * 1024
        except (OSError, ValueError):
            return None
    return sum(found.values()) or None


def busy_cores(seconds: float = 0.2) -> float:
    """Returns how many cores programs use while this one waits; 0 if the system does not tell it."""
    before = _cpu_seconds()
    time.sleep(seconds)
    after = _cpu_seconds()
    return 0.0 if before is None or after is None else max(0.0, after - before) / seconds


def _cpu_seconds() -> float | None:
    """Returns the time that all cores have worked."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    # User, nice, system, idle, waiting for input or output, interrupts, soft interrupts.
    user, nice, system, _, _, hard, soft = (int(field) for field in fields[:7])
    return (user + nice + system + hard + soft) / os.sysconf("SC_CLK_TCK")
