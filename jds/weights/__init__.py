"""Public weights: files in the naming of timm, torchvision and Keras."""

from jds.weights.errors import FreshClassifierWarning as FreshClassifierWarning
from jds.weights.errors import OrderWarning as OrderWarning
from jds.weights.errors import WeightsError as WeightsError
from jds.weights.load import Source as Source
