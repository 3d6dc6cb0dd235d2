"""Flax NNX modules."""

from jds.nn._batch_norm import BatchNorm as BatchNorm
from jds.nn._batch_norm_folding import fold_batch_norm as fold_batch_norm
from jds.nn._conv import DepthwiseConv as DepthwiseConv
from jds.nn._conv import PointwiseConv as PointwiseConv
from jds.nn._conv_norm import ConvNorm as ConvNorm
from jds.nn._convnext import ConvNeXtBlock as ConvNeXtBlock
from jds.nn._freezing import freeze as freeze
from jds.nn._inverted_residual import FusedResidual as FusedResidual
from jds.nn._inverted_residual import InvertedResidual as InvertedResidual
from jds.nn._layer_config import LayerConfig as LayerConfig
from jds.nn._linear import Linear as Linear
from jds.nn._linear import global_mean as global_mean
from jds.nn._mixed_conv import MixedConv as MixedConv
from jds.nn._mobileone import MobileOneBlock as MobileOneBlock
from jds.nn._multi_query_attention import MultiQueryAttention as MultiQueryAttention
from jds.nn._reparameterization import reparameterize as reparameterize
from jds.nn._separable import SeparableConv as SeparableConv
from jds.nn._squeeze_excite import SqueezeExcite as SqueezeExcite
from jds.nn._universal_inverted_residual import UniversalInvertedResidual as UniversalInvertedResidual
from jds.ops import Activation as Activation
from jds.ops import Implementation as Implementation
