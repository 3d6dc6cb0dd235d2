"""The format of pages that are one HTML file."""

import dataclasses

from jds.exporting._formats import Calibration, Converted
from jds.exporting._options import Options
from jds.exporting._prepare import Prepared
from jds.exporting.page import _convert
from jds.exporting.page._convert import open as open
from jds.exporting.page._one_file import as_one_file


def convert(prepared: Prepared, options: Options, calibration: Calibration | None) -> Converted:
    """Converts a network to a page in one file; see `jds.exporting.page`."""
    converted = _convert.convert(prepared, options, calibration)
    return dataclasses.replace(converted, content=as_one_file(converted.files))
