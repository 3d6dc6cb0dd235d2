"""Public weights: files that use the names of timm, torchvision or Keras."""

from jds.weights._errors import FreshClassifierWarning as FreshClassifierWarning
from jds.weights._errors import OrderWarning as OrderWarning
from jds.weights._errors import WeightsError as WeightsError
from jds.weights._found import Found as Found
from jds.weights._load import shapes_of as shapes_of
from jds.weights._lookalike import kernels_of as kernels_of
from jds.weights._pretrained_config import to_timm as to_timm
