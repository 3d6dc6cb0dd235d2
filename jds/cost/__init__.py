"""What a program costs: on paper, in XLA, and on the clock."""

from jds.cost.analysis import Analysis as Analysis
from jds.cost.analysis import By as By
from jds.cost.analysis import Row as Row
from jds.cost.analyze import analyze as analyze
from jds.cost.counts import Counts as Counts
from jds.cost.counts import Padding as Padding
from jds.cost.layer import Layer as Layer
from jds.cost.layer import Multiplications as Multiplications
from jds.cost.layer import Step as Step
from jds.cost.layer import multiplications as multiplications
from jds.cost.machine import machine_facts as machine_facts
from jds.cost.record import comma_separated as comma_separated
from jds.cost.record import record as record
from jds.cost.rules import Cost as Cost
from jds.cost.rules import Equation as Equation
from jds.cost.rules import register as register
from jds.cost.text import notes as notes
from jds.cost.text import table as table
from jds.cost.timing import Spread as Spread
from jds.cost.timing import measure as measure
from jds.cost.timing import ratios as ratios
from jds.cost.timing import spread as spread
from jds.cost.xla import XlaFlops as XlaFlops
from jds.cost.xla import xla_flops as xla_flops
