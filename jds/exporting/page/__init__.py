"""A page that classifies photographs in a browser or on a phone, offline: a folder, or one HTML file."""

from jds.exporting.page._build import build as build
from jds.exporting.page._convert import convert as convert
from jds.exporting.page._convert import open as open
from jds.exporting.page._one_file import as_one_file as as_one_file
from jds.exporting.page._runtime import PACKAGES as PACKAGES
from jds.exporting.page._runtime import fetch as fetch
