"""A page that classifies photographs in a browser or on a phone, offline: a folder, or one HTML file."""

from jds.exporting.page._build import build
from jds.exporting.page._one_file import as_one_file

__all__ = ["as_one_file", "build"]
