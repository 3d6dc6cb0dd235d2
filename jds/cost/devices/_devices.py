"""Devices and their peak rates: published, or measured on this machine."""

import contextlib
import datetime
import difflib
import json
import os
from pathlib import Path
from typing import Any

from jds._common.files import write_atomically
from jds.cost._machine import busy_cores, last_cache, machine_facts
from jds.cost.devices._peak import Peak
from jds.cost.devices._rates import arithmetic_rates, memory_rate
from jds.cost.devices._table import ALIASES, DEVICES

# A rate is measured again if other programs used more than this share of a core, or if half of its samples were slower
# than the fastest by more than this.
_BUSY, _UNSTEADY = 0.3, 1.5


def find_device(name: str) -> Peak:
    """Returns the peak rates of a device in `jds.cost.DEVICES`, or, for `"this"`, measures the current machine.

    Args:
      name: a key of `DEVICES`, or another usual name, such as `"pixel 4"`; capitals, spaces and hyphens do not matter.

    Raises:
      ValueError: there is no such device.
      TypeError: `name` is no string.

    Example:
      >>> from jds import cost
      >>> cost.find_device("Raspberry Pi 5").rates["float32"]
      153600000000.0
    """
    if device_key(name) == "this":
        return measure_peak()
    if fault := device_fault(name):
        raise ValueError(f"find_device: `name` {fault}")
    return DEVICES[device_key(name)]


def device_key(name: str) -> str:
    """Returns the key of `DEVICES` for a name, as far as it is known; raises TypeError for what is no string."""
    if not isinstance(name, str):
        raise TypeError(f"find_device: `name` must be a string, such as 'pixel 4', got {type(name).__name__}")
    plain = "_".join(name.lower().replace("-", " ").replace("_", " ").split())
    return ALIASES.get(plain, plain)


def device_fault(name: str) -> str | None:
    """Returns an error message for an unknown device name, or None for a known one."""
    key = device_key(name)
    if key == "this" or key in DEVICES:
        return None
    first = key.split("_")[0].rstrip("0123456789")
    near = [known for known in (*DEVICES, *ALIASES) if first and known.startswith(first)]
    near += difflib.get_close_matches(key, [*DEVICES, *ALIASES], n=3, cutoff=0.6)
    named = list(dict.fromkeys(ALIASES.get(known, known) for known in near))
    hint = f"; did you mean {' or '.join(named[:5])}?" if named else ""
    return f"must be this or one of {', '.join(DEVICES)}, got {name!r}{hint}"


def measure_peak(*, again: bool = False) -> Peak:
    """Measures the peak rates of the device that JAX uses, and keeps them.

    The arithmetic rates are those of matrix products in each dtype, or of chains of multiply-adds in float32 if these
    are faster; the memory rate is that of adding to an array in place, or of reading one. They are kept in
    `~/.cache/jds`, or under `$XDG_CACHE_HOME`. Rates that were measured on a busy machine, or that varied, are too low.
    They are measured again the next time, and the higher of the old and new rates is kept.

    Args:
      again: measure even if earlier rates are kept that look right.

    Returns:
      The rates. `source` tells when they were measured, how much they varied and how busy the machine was.

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
    before = kept.get(key)
    if again or before is None or not _looks_right(before):
        kept[key] = _better(_measured(), before)
        _write(file, kept)
    return _as_peak(key, kept[key])


def _measured() -> dict[str, Any]:
    """Measures the rates now."""
    busy = busy_cores()
    arithmetic, memory = arithmetic_rates(), memory_rate()
    return {
        "rates": {name: rate.high for name, rate in arithmetic.items()},
        "bytes": memory.high,
        "slower": max(rate.high / rate.median for rate in (arithmetic["float32"], memory)),
        "busy": busy,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
    }


def _looks_right(record: dict[str, Any]) -> bool:
    return record["busy"] <= _BUSY and record["slower"] <= _UNSTEADY


def _better(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the new record with the higher rates of both; a record that looks right stays one."""
    if old is None:
        return new
    rates = {name: max(rate, old["rates"].get(name, rate)) for name, rate in new["rates"].items()}
    steady = old if _looks_right(old) and not _looks_right(new) else new
    return steady | {"rates": rates, "bytes": max(new["bytes"], old["bytes"])}


def _as_peak(key: str, record: dict[str, Any]) -> Peak:
    source = (
        f"measured on this machine on {record['date']}: matrix products, and an in-place sum; the fastest of samples "
        f"whose median is {record['slower']:.2f} times slower, while other programs used {record['busy']:.1f} cores"
    )
    return Peak(f"{key}", record["rates"], record["bytes"], source, cache=last_cache())


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        names = {"rates", "bytes", "slower", "busy", "date"}
        return {key: record for key, record in found.items() if record.keys() == names}
    except (OSError, ValueError, AttributeError):
        return {}  # missing, damaged or of another version: the rates are measured again


def _write(file: Path, kept: dict[str, dict[str, Any]]) -> None:
    # Without a writable folder, the rates are measured every time, which takes a few seconds.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda path: path.write_text(json.dumps(kept, indent=1), encoding="utf-8"))
