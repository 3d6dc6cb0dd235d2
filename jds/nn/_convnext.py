"""ConvNeXt's block."""

import jax
from flax import nnx

from jds.nn._arguments import check_features
from jds.nn._conv import DepthwiseConv
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig
from jds.nn._residual import LayerScale, Skip
from jds.ops._fused_block import gelu


class ConvNeXtBlock(nnx.Module):
    """A depthwise convolution, a layer normalization, two linear layers, and a skip connection.

    From A ConvNet for the 2020s, https://arxiv.org/abs/2201.03545.

    Args:
      features: number of channels.
      kernel_size, kernel_dilation: size and dilation of the depthwise filters.
      expanded_features: number of features between the two linear layers; None for four times `features`.
      layer_scale: initial value of the per-channel scale of the result; None disables it.
      epsilon: epsilon of the normalization.
      drop_path, config, rngs: as in `InvertedResidual`; the config's norm is not used.

    Raises:
      ValueError: a number is not positive.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> jds.nn.ConvNeXtBlock(8, rngs=nnx.Rngs(0))(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 8)
    """

    def __init__(
        self,
        features: int,
        *,
        kernel_size: int = 7,
        kernel_dilation: int = 1,
        expanded_features: int | None = None,
        layer_scale: float | None = 1e-6,
        epsilon: float = 1e-6,
        drop_path: float = 0.0,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        wide = 4 * features if expanded_features is None else expanded_features
        check_features("ConvNeXtBlock", features=features, kernel_size=kernel_size, expanded_features=wide)
        window = (kernel_size,) * 2, (1, 1), (kernel_dilation,) * 2
        shared = {"dtype": config.dtype, "param_dtype": config.param_dtype, "rngs": rngs}
        self.depthwise = DepthwiseConv(
            features,
            window[0],
            kernel_dilation=window[2],
            padding=config.pads(*window),
            kernel_init=config.kernel_init,
            implementation=config.implementation,
            **shared,
        )
        self.norm = nnx.LayerNorm(features, epsilon=epsilon, **shared)
        self.widen = nnx.Linear(features, wide, kernel_init=config.kernel_init, **shared)
        self.narrow = nnx.Linear(wide, features, kernel_init=config.kernel_init, **shared)
        self.layer_scale = nnx.data(
            None if layer_scale is None else LayerScale(features, layer_scale, param_dtype=config.param_dtype)
        )
        self.skip = Skip(drop_path, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the block to `(batch, height, width, features)`."""
        x = self.narrow(gelu(self.widen(self.norm(self.depthwise(inputs)))))
        return self.skip(x if self.layer_scale is None else self.layer_scale(x), inputs)
