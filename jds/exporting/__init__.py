"""Writes networks and functions for other runtimes."""

from jds.exporting._export import export as export
from jds.exporting._read_cost import read_cost as read_cost
from jds.exporting._report import Check as Check
from jds.exporting._report import ExportReport as ExportReport
