"""Figures of analyses and sweeps. They need Matplotlib, which takes longer to import than jds."""

from jds.cost.figures._layers import plot_analysis as plot_analysis
from jds.cost.figures._sweep import plot_sweep as plot_sweep
