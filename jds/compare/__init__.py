"""Compares ordinary and depthwise separable convolution, layer by layer: in theory, in XLA and in measured time."""

from jds.compare._layers import analyzed_layers as analyzed_layers
from jds.compare._layers import network_layers as network_layers
from jds.compare._measure import FORMS as FORMS
from jds.compare._measure import SCHEMA as SCHEMA
from jds.compare._measure import Comparison as Comparison
from jds.compare._measure import LayerComparison as LayerComparison
from jds.compare._measure import XlaFlops as XlaFlops
from jds.compare._measure import compare_layer as compare_layer
from jds.compare._measure import xla_flops as xla_flops
