"""Options of the networks."""

import dataclasses
import functools
from typing import Literal

import jax.numpy as jnp
from jax.typing import DTypeLike

from jds.models._arguments import check_fields
from jds.models._initialize import zeros
from jds.nn import BatchNorm, Implementation, LayerConfig
from jds.nn._separable import MakeNorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Options shared by all networks. Each network has its own config class, which adds its rows and other options.

    Attributes:
      num_classes: number of outputs of the classifier; 0 omits the classifier, and the network returns the features.
      in_features: number of channels of the images.
      dropout: drop rate of the features before the classifier.
      drop_path: drop rate of the last block in training; it grows linearly along the blocks. Stochastic depth is from
        https://arxiv.org/abs/1603.09382.
      output_stride: stride of the last feature map: 32, or 16 or 8, which replace strides with dilated filters.
      padding: `"SAME"`, as in TensorFlow, or `"TORCH"`, as in PyTorch.
      dtype: dtype of the computation; None for the common dtype of images and parameters.
      param_dtype: dtype of the parameters.
      implementation: implementation of depthwise and pointwise convolutions, as in `jds.depthwise_conv`. For ordinary
        convolutions, such as the stem, only `"xla"` applies.

    Raises:
      ValueError, TypeError: a value breaks a rule.

    Example:
      >>> import dataclasses, jds
      >>> config = jds.models.MobileNetV2Config(num_classes=10)
      >>> dataclasses.replace(config, output_stride=16).num_classes
      10
    """

    num_classes: int = 1000
    in_features: int = 3
    dropout: float = 0.0
    drop_path: float = 0.0
    output_stride: int = 32
    padding: Literal["SAME", "TORCH"] = "SAME"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    implementation: Implementation | None = None

    def __post_init__(self):
        check_fields(self)

    @property
    def layer_config(self) -> LayerConfig:
        """Options shared by all layers. Kernels start as zeros; `draw_kernels` later draws all of them at once."""
        return LayerConfig(
            padding=self.padding,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=zeros,
            implementation=self.implementation,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNormConfig(NetworkConfig):
    """Options shared by the networks with batch normalization: all except ConvNeXt.

    Attributes:
      epsilon, momentum: epsilon and momentum of batch normalization.
      unbiased_variance: whether running variances are unbiased, as in PyTorch but not in Keras and Flax.
      norm: factory of a normalization to use instead of batch normalization, called as `norm(features, rngs=rngs)`.

    Raises:
      ValueError, TypeError: a value breaks a rule.

    Example:
      >>> import jds
      >>> issubclass(jds.models.MobileNetV2Config, jds.models.BatchNormConfig)
      True
    """

    epsilon: float = 1e-3
    momentum: float = 0.99
    unbiased_variance: bool = False
    norm: MakeNorm | None = None

    @property
    def layer_config(self) -> LayerConfig:
        """Options shared by all layers."""
        batch_norm = functools.partial(
            BatchNorm,
            epsilon=self.epsilon,
            momentum=self.momentum,
            unbiased_variance=self.unbiased_variance,
            dtype=self.dtype,
        )
        return dataclasses.replace(super().layer_config, norm=self.norm or batch_norm)
