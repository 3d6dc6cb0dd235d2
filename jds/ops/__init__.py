"""Pure functions on arrays."""

from jds.ops._accelerate import accelerate as accelerate
from jds.ops._accelerate import install as install
from jds.ops._accelerate import uninstall as uninstall
from jds.ops._conv import conv as conv
from jds.ops._conv import conv_general_dilated as conv_general_dilated
from jds.ops._conv import depthwise_conv as depthwise_conv
from jds.ops._conv import pointwise_conv as pointwise_conv
from jds.ops._conv import separable_conv as separable_conv
from jds.ops._dispatch import Implementation as Implementation
from jds.ops._dispatch import ImplementationChoice as ImplementationChoice
from jds.ops._expand import expand_jaxpr as expand_jaxpr
from jds.ops._fused_block import Activation as Activation
from jds.ops._geometry import Padding as Padding
from jds.ops._selection import ImplementationSelection as ImplementationSelection
from jds.ops._selection import select_implementation as select_implementation
