"""Finds and builds the networks named on the command line."""

from typing import Any

from jds import zoo
from jds._common.text import plain_number
from jds.cli._options import UsageError
from jds.models import Network


def find_variant(name: str, *, hint: str = "") -> zoo.Variant:
    """Returns the public network with the given name.

    Raises:
      UsageError: there is no such network; the message ends with the hint.
    """
    if fault := zoo.name_fault(name, "`jds models`"):
        raise UsageError(f"{fault}{hint}")
    return zoo.find(name)


def build(name: str, width: float | None) -> Network:
    """Builds a public network, in training mode.

    Raises:
      UsageError: the network has no width multiplier, or is too large with it.
    """
    overrides: dict[str, Any] = {} if width is None else {"width": width}
    try:
        return zoo.create_model(name, **overrides)
    except TypeError as error:
        raise UsageError(f"`--width` does not apply to {name}: {str(error).removeprefix('create_model: ')}") from None
    except (MemoryError, OverflowError, ValueError) as error:
        if width is None:
            raise
        raise UsageError(f"{name} cannot be built with `--width {width:g}`: {error}") from None


def network_title(name: str, image_size: int, width: float | None, batch: int) -> str:
    """Returns a title that describes the network, its images and the batch."""
    words = f", width {plain_number(width, 6)}" if width else ""
    return f"{name}, {image_size}×{image_size}{words}, batch {batch}"
