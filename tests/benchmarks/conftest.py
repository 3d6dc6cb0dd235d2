"""The benchmarks are no part of the installed package: found in the repository, after everything that is installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
