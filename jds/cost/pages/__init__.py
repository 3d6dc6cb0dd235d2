"""Analyses, comparisons and sweeps as self-contained HTML pages."""

from jds.cost.pages._comparison import comparison_page as comparison_page
from jds.cost.pages._page import analysis_page as analysis_page
from jds.cost.pages._svg import short as short
from jds.cost.pages._sweep import sweep_page as sweep_page
