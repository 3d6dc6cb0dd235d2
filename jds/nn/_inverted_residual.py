"""The inverted residual block of MobileNet V2 and its descendants, and its fused form."""

from collections.abc import Sequence

import jax
from flax import nnx

from jds.nn._apply import apply_separable
from jds.nn._conv_norm import ConvNorm
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig
from jds.nn._residual import Skip, with_skip
from jds.nn._squeeze_excite import SqueezeExcite
from jds.ops._fused_block import Activation


class InvertedResidual(nnx.Module):
    """Pointwise expansion, depthwise convolution, squeeze and excitation, pointwise projection, and a skip connection.

    From MobileNetV2, https://arxiv.org/abs/1801.04381, with the squeeze and excitation of MnasNet,
    https://arxiv.org/abs/1807.11626, and the mixed kernels of MixNet, https://arxiv.org/abs/1907.09595.

    Args:
      in_features, out_features: numbers of channels.
      kernel_size: filter size of the depthwise step.
      kernel_sizes: one size per group of channels; overrides `kernel_size` unless it is None.
      strides, kernel_dilation: strides and dilation of the depthwise step.
      expanded_features: number of channels of the depthwise step; None for `in_features`, without an expansion step.
      expand_kernels, project_kernels: kernel sizes of the pointwise steps: a 1 for each group that their channels are
        split into.
      squeeze_features: number of squeezed features of the squeeze and excitation; 0 omits it.
      activation: activation after the expansion and the depthwise step.
      squeeze_activation, gate: activation and gate of the squeeze and excitation.
      use_skip: whether to add a skip connection if strides and numbers of channels allow one.
      drop_path: drop rate of the block in training (stochastic depth).
      config: normalization, padding and dtypes.
      rngs: provides the `params` key and, for `drop_path`, the `dropout` key.

    Raises:
      ValueError: a number is not positive.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.InvertedResidual(8, 8, 3, expanded_features=48, rngs=nnx.Rngs(0))
      >>> block(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int = 3,
        *,
        kernel_sizes: Sequence[int] | None = None,
        strides: int = 1,
        kernel_dilation: int = 1,
        expanded_features: int | None = None,
        expand_kernels: Sequence[int] = (1,),
        project_kernels: Sequence[int] = (1,),
        squeeze_features: int = 0,
        activation: Activation = jax.nn.relu6,
        squeeze_activation: Activation = jax.nn.relu,
        gate: Activation = jax.nn.sigmoid,
        use_skip: bool = True,
        drop_path: float = 0.0,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        between = in_features if expanded_features is None else expanded_features
        self.expand = nnx.data(
            None
            if expanded_features is None
            else ConvNorm(
                in_features, between, kernel_sizes=expand_kernels, activation=activation, config=config, rngs=rngs
            )
        )
        self.depthwise = ConvNorm(
            between,
            between,
            kernel_size,
            kernel_sizes=kernel_sizes,
            strides=strides,
            kernel_dilation=kernel_dilation,
            depthwise=True,
            activation=activation,
            config=config,
            rngs=rngs,
        )
        self.squeeze_excite = nnx.data(
            SqueezeExcite(between, squeeze_features, activation=squeeze_activation, gate=gate, config=config, rngs=rngs)
            if squeeze_features
            else None
        )
        self.project = ConvNorm(between, out_features, kernel_sizes=project_kernels, config=config, rngs=rngs)
        skips = use_skip and strides == 1 and in_features == out_features
        self.skip = nnx.data(Skip(drop_path, rngs=rngs) if skips else None)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the block: `(batch, height, width, in_features)` to `(batch, *out_size, out_features)`."""
        x = inputs if self.expand is None else self.expand(inputs)
        if self.squeeze_excite is None:
            return with_skip(
                self.skip,
                lambda added: apply_separable(self.depthwise.step, self.project.step, x, skip=added),
                inputs,
            )
        x = self.squeeze_excite(self.depthwise(x))
        return with_skip(self.skip, lambda added: self.project(x, skip=added), inputs)


class FusedResidual(nnx.Module):
    """An inverted residual block that replaces expansion and depthwise step with one ordinary convolution.

    From EfficientNet-EdgeTPU, https://ai.googleblog.com/2019/08/efficientnet-edgetpu-creating.html.

    Args:
      in_features, out_features: numbers of channels.
      kernel_size, strides, kernel_dilation: filter size, strides and dilation of the ordinary convolution.
      expanded_features: number of output channels of the ordinary convolution.
      activation: activation after the ordinary convolution.
      drop_path, config, rngs: as in `InvertedResidual`.

    Raises:
      ValueError: a number is not positive.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.FusedResidual(8, 16, 3, strides=2, expanded_features=32, rngs=nnx.Rngs(0))
      >>> block(jnp.ones((1, 16, 16, 8))).shape
      (1, 8, 8, 16)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int = 3,
        *,
        strides: int = 1,
        kernel_dilation: int = 1,
        expanded_features: int,
        activation: Activation = jax.nn.relu,
        drop_path: float = 0.0,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        self.expand = ConvNorm(
            in_features,
            expanded_features,
            kernel_size,
            strides=strides,
            kernel_dilation=kernel_dilation,
            activation=activation,
            config=config if kernel_size == 1 else config.for_ordinary,
            rngs=rngs,
        )
        self.project = ConvNorm(expanded_features, out_features, config=config, rngs=rngs)
        skips = strides == 1 and in_features == out_features
        self.skip = nnx.data(Skip(drop_path, rngs=rngs) if skips else None)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the block: `(batch, height, width, in_features)` to `(batch, *out_size, out_features)`."""
        x = self.expand(inputs)
        return with_skip(self.skip, lambda added: self.project(x, skip=added), inputs)
