"""Flax NNX modules."""

from jds.nn.conv import DepthwiseConv as DepthwiseConv
from jds.nn.conv import PointwiseConv as PointwiseConv
from jds.nn.fold import fold_batch_norm as fold_batch_norm
from jds.nn.norm import BatchNorm as BatchNorm
from jds.nn.separable import SeparableConv as SeparableConv
