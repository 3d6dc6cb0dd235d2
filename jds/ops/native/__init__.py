"""CPU kernels in C++, called through XLA's foreign function interface."""

from jds.ops.native._convolution import convolution as convolution
from jds.ops.native._convolution import unsupported as unsupported
from jds.ops.native._fused_block import fused_block as fused_block
from jds.ops.native._fused_block import unsupported_block as unsupported_block
