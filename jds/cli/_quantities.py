"""Reads the sizes, times and ranges of the command line."""

import re
from collections.abc import Mapping, Sequence
from typing import get_args

from jds import cost
from jds._common.text import Number
from jds.cli._options import UsageError
from jds.cost._budget import Quantity
from jds.cost.devices import device_fault

_UNITS = {
    "": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_RANGE_STEPS = 6
# The values of a range are rounded to a multiple of this.
_MULTIPLES = {"image_size": 32, "batch": 1, "width": 0.05}


def number(option: str, text: str, units: Mapping[str, Number] = _UNITS) -> float:
    """Returns a number with a unit, such as `300M`, `16GiB` or `3ms`.

    Raises:
      UsageError: it is no positive number, or its unit is unknown.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-zµ]*)", text.strip())
    if found is None or found[2] not in units or float(found[1]) == 0:
        known = ", ".join(unit for unit in units if unit)
        raise UsageError(f"`{option}` must be a positive number with one of the units {known}, got {text!r}")
    return float(found[1]) * units[found[2]]


def limits(texts: tuple[str, ...]) -> list[cost.Limit]:
    """Returns the limits of `--at-most`, such as `macs=300M,params=5M,time=3ms@raspberry_pi_5`.

    Raises:
      UsageError: a limit has not this form.
    """
    found = []
    for text in ",".join(texts).split(","):
        name, _, rest = text.partition("=")
        most, _, device = rest.partition("@")
        quantity = next((known for known in get_args(Quantity) if known == name), None)
        if quantity is None or not most:
            names = ", ".join(get_args(Quantity))
            raise UsageError(f"`--at-most` must have the form macs=300M with one of {names}, got {text!r}")
        is_time = quantity in ("time", "bound")
        fault = device_fault(device) if device else "must name a device, as in time=3ms@raspberry_pi_5"
        if is_time and fault:
            raise UsageError(f"`--at-most` {fault}, got {text!r}")
        if device and not is_time:
            raise UsageError(f"`--at-most` has a device for time and bound only, got {text!r}")
        value = number("--at-most", most, _TIMES if is_time else _UNITS)
        found.append(cost.Limit(quantity, value, device or None, most.strip()))
    return found


def ranges(texts: tuple[str, ...]) -> dict[str, Sequence[Number]]:
    """Returns the settings of `--sweep`, such as `width=0.25:1.4 image_size=96:288`.

    Raises:
      UsageError: a setting has not this form.
    """
    found: dict[str, Sequence[Number]] = {}
    for text in texts:
        name, _, rest = text.partition("=")
        name = name.replace("-", "_")
        if name not in _MULTIPLES or not rest:
            raise UsageError(f"`--sweep` must have the form width=0.25:1.4 with {', '.join(_MULTIPLES)}, got {text!r}")
        try:
            values = _values(name, rest)
        except ValueError:
            raise UsageError(
                f"`--sweep` must have values or a range with or without a step, as in image_size=96,128 or "
                f"image_size=96:288:32, got {text!r}"
            ) from None
        found[name] = values if name == "width" else [int(value) for value in values]
    return found


def _values(name: str, text: str) -> list[float]:
    if ":" not in text:
        values = [float(part) for part in text.split(",")]
    else:
        low, high, *steps = (float(part) for part in text.split(":"))
        if len(steps) > 1 or not 0 < low < high or (steps and steps[0] <= 0):
            raise ValueError(text)
        if steps:
            values = [low + i * steps[0] for i in range(int((high - low) / steps[0] + 1e-9) + 1)]
        else:
            multiple = _MULTIPLES[name]
            between = [low + (high - low) * i / (_RANGE_STEPS - 1) for i in range(1, _RANGE_STEPS - 1)]
            values = [low, *(round(round(value / multiple) * multiple, 6) for value in between), high]
    if not values or min(values) <= 0 or (name != "width" and any(value % 1 for value in values)):
        raise ValueError(text)
    return list(dict.fromkeys(values))
