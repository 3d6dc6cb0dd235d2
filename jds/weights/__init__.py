"""Public weights: files in the naming of timm, torchvision and Keras."""

from jds.weights._errors import FreshClassifierWarning as FreshClassifierWarning
from jds.weights._errors import OrderWarning as OrderWarning
from jds.weights._errors import WeightsError as WeightsError
