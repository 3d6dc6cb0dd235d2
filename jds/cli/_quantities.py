"""Reads the sizes, times and ranges of the command line."""

import math
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
# Two characters look like µ.
_TIMES = {"ns": 1e-9, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "\N{GREEK SMALL LETTER MU}s": 1e-6, "ms": 1e-3, "s": 1.0}
_RANGE_STEPS = 6
# A network takes a second or two.
_MOST_POINTS = 1000
# The values of a range are rounded to a multiple of this.
_MULTIPLES = {"image_size": 32, "batch": 1, "width": 0.05}


def number(option: str, text: str, units: Mapping[str, Number] = _UNITS) -> float:
    """Returns a number with a unit, such as `300M`, `16GiB` or `3ms`.

    Raises:
      UsageError: it is no positive number, or its unit is unknown.
    """
    found = re.fullmatch(r"((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\W\d_]*)", text.strip())
    if found is None or found[2] not in units or not 0 < float(found[1]) < math.inf:
        known = ", ".join(unit for unit in units if unit and unit != "\N{GREEK SMALL LETTER MU}s")
        words = "without a unit or with one of" if "" in units else "with one of the units"
        raise UsageError(f"`{option}` must be a positive number {words} {known}, got {text!r}")
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
        if is_time and not device:
            raise UsageError(f"`--at-most` must name a device, as in time=3ms@raspberry_pi_5, got {text!r}")
        if is_time and (fault := device_fault(device)):
            raise UsageError(f"the device of `--at-most {text}` {fault}")
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
        if name in found:
            raise UsageError(f"`--sweep` must have {name} once, as in {name}=1,2,4, got {' '.join(texts)}")
        try:
            values = _values(name, rest)
        except ValueError:
            raise UsageError(
                f"`--sweep` must have positive values, or a range that rises, with or without a positive step, as in "
                f"image_size=96,128 or image_size=96:288:32, got {text!r}"
            ) from None
        found[name] = values if name == "width" else [int(value) for value in values]
    _check_number(math.prod(map(len, found.values())))
    return found


def _check_number(points: int) -> None:
    if points > _MOST_POINTS:
        raise UsageError(f"`--sweep` must have at most {_MOST_POINTS} points, got {points}; take wider steps")


def _values(name: str, text: str) -> list[Number]:
    if ":" not in text:
        values = [float(part) for part in text.split(",")]
    else:
        low, high, *steps = (float(part) for part in text.split(":"))
        if len(steps) > 1 or not 0 < low < high < math.inf or (steps and not steps[0] > 0):
            raise ValueError(text)
        if steps:
            # As many as a double can count, at most.
            count = int(min((high - low) / steps[0], 2.0**53) + 1e-9) + 1
            _check_number(count)
            values = [round(low + i * steps[0], 9) for i in range(count)]
        else:
            multiple = _MULTIPLES[name]
            between = [low + (high - low) * i / (_RANGE_STEPS - 1) for i in range(1, _RANGE_STEPS - 1)]
            values = [low, *(round(round(value / multiple) * multiple, 6) for value in between), high]
    if not all(0 < value < math.inf for value in values) or (name != "width" and any(value % 1 for value in values)):
        raise ValueError(text)
    return list(dict.fromkeys(values))
