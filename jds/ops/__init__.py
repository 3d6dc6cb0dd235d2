"""Pure functions on arrays."""

from jds.ops.accelerate import accelerate as accelerate
from jds.ops.accelerate import install as install
from jds.ops.accelerate import uninstall as uninstall
from jds.ops.conv import conv as conv
from jds.ops.conv import conv_general_dilated as conv_general_dilated
from jds.ops.conv import depthwise_conv as depthwise_conv
from jds.ops.conv import pointwise_conv as pointwise_conv
from jds.ops.conv import separable_conv as separable_conv
from jds.ops.dispatch import Choice as Choice
from jds.ops.dispatch import Implementation as Implementation
from jds.ops.geometry import Padding as Padding
from jds.ops.selection import Selection as Selection
from jds.ops.selection import select_implementation as select_implementation
