"""What a program costs: on paper, in XLA, and on the clock."""

from jds.cost.layer import Layer as Layer
from jds.cost.layer import Multiplications as Multiplications
from jds.cost.layer import Step as Step
from jds.cost.layer import multiplications as multiplications
from jds.cost.machine import machine_facts as machine_facts
from jds.cost.timing import Spread as Spread
from jds.cost.timing import measure as measure
from jds.cost.timing import ratios as ratios
from jds.cost.timing import spread as spread
from jds.cost.xla import XlaFlops as XlaFlops
from jds.cost.xla import xla_flops as xla_flops
