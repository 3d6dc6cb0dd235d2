"""The options of networks."""

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
    """Options shared by all networks. Each network has its own config, with its rows and more.

    Attributes:
      num_classes: outputs of the classifier; 0 for none, the features then being the output.
      in_features: channels of the images.
      dropout: drop rate of the features before the classifier.
      drop_path: drop rate of the last block in training; it grows linearly along the blocks.
        From stochastic depth, https://arxiv.org/abs/1603.09382.
      output_stride: stride of the last feature map: 32, or 16 or 8 with dilated filters in place of strides.
      padding: `"SAME"` as TensorFlow has it, or `"TORCH"` as PyTorch.
      dtype: of the computation; None for the common dtype of images and parameters.
      param_dtype: of the parameters.
      implementation: of the depthwise and pointwise convolutions, as in `jds.depthwise_conv`. Ordinary convolutions,
        such as the stem, take only `"xla"` from it.

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
        """Options shared by all layers. Kernels are zeros: `draw_kernels` draws all of them at once, later."""
        return LayerConfig(
            padding=self.padding,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=zeros,
            implementation=self.implementation,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNormConfig(NetworkConfig):
    """Options shared by the networks with batch normalization: all but ConvNeXt.

    Attributes:
      epsilon, momentum: of the batch normalizations.
      unbiased_variance: whether their running variances are unbiased, as PyTorch's are; Keras's and Flax's are not.
      norm: makes the normalization to use in place of batch normalization, called as `norm(features, rngs=rngs)`.

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
