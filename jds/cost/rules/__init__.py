"""Rules for the cost of each primitive."""

# Imported to register their rules.
from jds.cost.rules import _elements as _elements
from jds.cost.rules import _linear_algebra as _linear_algebra
from jds.cost.rules import _products as _products
from jds.cost.rules import _random as _random
from jds.cost.rules import _reductions as _reductions
from jds.cost.rules._elements import ELEMENTWISE as ELEMENTWISE
from jds.cost.rules._elements import SCATTERS as SCATTERS
from jds.cost.rules._elements import UPDATES as UPDATES
from jds.cost.rules._reductions import REDUCTIONS as REDUCTIONS
from jds.cost.rules._reductions import WINDOWS as WINDOWS
from jds.cost.rules._table import Cost as Cost
from jds.cost.rules._table import Equation as Equation
from jds.cost.rules._table import find_rule as find_rule
from jds.cost.rules._table import register as register
from jds.cost.rules._table import size as size
from jds.cost.rules._windows import WindowAxis as WindowAxis
from jds.cost.rules._windows import convolution_axes as convolution_axes
from jds.cost.rules._windows import products as products
from jds.cost.rules._windows import window_axes as window_axes
