"""Networks made of depthwise separable convolutions, one file a paper."""

from jds.models.mobilenet_v1 import MobileNetV1 as MobileNetV1
