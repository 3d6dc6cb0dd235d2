"""Depthwise separable convolutions in JAX that are as fast in practice as they are in theory."""

from jds import cost as cost
from jds import models as models
from jds import nn as nn
from jds.evaluating import Evaluation as Evaluation
from jds.evaluating import evaluate as evaluate
from jds.exporting import ExportReport as ExportReport
from jds.exporting import export as export
from jds.models import count_parameters as count_parameters
from jds.nn import fold_batch_norm as fold_batch_norm
from jds.nn import freeze as freeze
from jds.nn import reparameterize as reparameterize
from jds.ops import ImplementationChoice as ImplementationChoice
from jds.ops import ImplementationSelection as ImplementationSelection
from jds.ops import accelerate as accelerate
from jds.ops import conv as conv
from jds.ops import conv_general_dilated as conv_general_dilated
from jds.ops import depthwise_conv as depthwise_conv
from jds.ops import expand_jaxpr as expand_jaxpr
from jds.ops import install as install
from jds.ops import pointwise_conv as pointwise_conv
from jds.ops import select_implementation as select_implementation
from jds.ops import separable_conv as separable_conv
from jds.ops import uninstall as uninstall
from jds.ops._acceleration_report import AccelerationReport as AccelerationReport
from jds.ops._acceleration_report import acceleration_report as acceleration_report
from jds.weights import FreshClassifierWarning as FreshClassifierWarning
from jds.weights import OrderWarning as OrderWarning
from jds.weights import WeightsError as WeightsError
from jds.weights._files import save_weights as save_weights
from jds.zoo import create_model as create_model
from jds.zoo import list_models as list_models

__version__ = "0.1.0"
