"""Public weights: files in the naming of timm, torchvision and Keras."""

from jds.weights._errors import FreshClassifierWarning as FreshClassifierWarning
from jds.weights._errors import OrderWarning as OrderWarning
from jds.weights._errors import WeightsError as WeightsError
from jds.weights._found import Found as Found
from jds.weights._load import shapes_of as shapes_of
from jds.weights._lookalike import kernels_of as kernels_of
from jds.weights._pretrained_config import to_timm as to_timm
