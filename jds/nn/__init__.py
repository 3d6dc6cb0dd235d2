"""Flax NNX modules."""

from jds.nn.conv import DepthwiseConv as DepthwiseConv
from jds.nn.conv import PointwiseConv as PointwiseConv
from jds.nn.conv_norm import ConvNorm as ConvNorm
from jds.nn.convnext import ConvNeXtBlock as ConvNeXtBlock
from jds.nn.fold import fold_batch_norm as fold_batch_norm
from jds.nn.inverted_residual import FusedResidual as FusedResidual
from jds.nn.inverted_residual import InvertedResidual as InvertedResidual
from jds.nn.mixed import MixedConv as MixedConv
from jds.nn.mobile_one import MobileOneBlock as MobileOneBlock
from jds.nn.norm import BatchNorm as BatchNorm
from jds.nn.reparametrize import reparametrize as reparametrize
from jds.nn.separable import SeparableConv as SeparableConv
from jds.nn.squeeze_excite import SqueezeExcite as SqueezeExcite
from jds.nn.style import Style as Style
from jds.nn.universal import MultiQueryAttention as MultiQueryAttention
from jds.nn.universal import UniversalInvertedResidual as UniversalInvertedResidual
