"""XLA's view of a program, and its reconciliation with the count of the jaxpr."""

from jds.cost.hlo._difference import Difference as Difference
from jds.cost.hlo._origins import Operations as Operations
from jds.cost.hlo._origins import Source as Source
from jds.cost.hlo._origins import origin_of as origin_of
from jds.cost.hlo._origins import sources as sources
from jds.cost.hlo._reconcile import Reconciliation as Reconciliation
from jds.cost.hlo._reconcile import reconcile as reconcile
from jds.cost.hlo._tags import Marked as Marked
from jds.cost.hlo._tags import chain_of_scopes as chain_of_scopes
from jds.cost.hlo._tags import has_own_cost as has_own_cost
from jds.cost.hlo._tags import mark as mark
from jds.cost.hlo._tags import replace_jaxprs as replace_jaxprs
from jds.cost.hlo._view import XlaInstruction as XlaInstruction
from jds.cost.hlo._view import XlaView as XlaView
from jds.cost.hlo._view import xla as xla
