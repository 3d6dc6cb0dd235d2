"""Facts about the machine, to record with a measurement."""

import os
import platform
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
