"""Makes the page of a network."""

import dataclasses
import importlib.util
from pathlib import Path

from jds.exporting._formats import Calibration, Converted, Session, format_of
from jds.exporting._options import Options
from jds.exporting._prepare import Prepared
from jds.exporting.page._build import build
from jds.exporting.page._runtime import PACKAGES, Kind, kind_of

_LITERT_IDENTIFIER = b"TFL3"


def convert(prepared: Prepared, options: Options, calibration: Calibration | None) -> Converted:
    """Converts a network to the folder of a page.

    Raises:
      ValueError: it is not a network that classifies images, or `runtime` is not one of the packages.
      ImportError: a package is not installed.
      OSError: the runtime cannot be read or fetched.
    """
    if prepared.description is None:
        raise ValueError(f"export: a page is for networks of `jds.models`, got {prepared.name}")
    kind = _kind(options.runtime)
    converted = format_of(Path(f"network.{kind}")).convert(prepared, options, calibration)
    network = converted.file
    package = PACKAGES[kind]
    return dataclasses.replace(
        converted,
        content=build(network, kind, prepared.description, options.runtime),
        format=f"page with {package.title} {package.version}, {converted.format}",
        network=network,
        notes=(),
    )


def open(content: bytes) -> Session:
    """Opens the network of a page in the runtime of its format on this computer."""
    kind = "tflite" if content[4:8] == _LITERT_IDENTIFIER else "onnx"
    return format_of(Path(f"network.{kind}")).open(content)


def _kind(runtime: Path | None) -> Kind:
    """Returns the format that the runtime reads; without one, LiteRT's, whose runtime is the faster one."""
    if runtime is not None:
        return kind_of(runtime)
    return "tflite" if importlib.util.find_spec("litert_converter") else "onnx"
