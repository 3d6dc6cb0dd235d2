"""Convolutions as sums of shifted products, in plain JAX."""

from jds.ops.shifted._convolution import convolution as convolution
from jds.ops.shifted._convolution import unsupported as unsupported
