"""The universal inverted residual block of MobileNet V4."""

import jax
from flax import nnx

from jds.nn._apply import apply_separable
from jds.nn._conv_norm import ConvNorm
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig
from jds.nn._residual import LayerScale, Skip, with_skip
from jds.ops._fused_block import Activation


class UniversalInvertedResidual(nnx.Module):
    """An inverted residual block with a depthwise step before the expansion, after it, both or neither.

    From MobileNetV4, https://arxiv.org/abs/2404.10518. With only the second depthwise step it is the inverted residual
    block, with only the first the ConvNeXt block, with both "ExtraDW", and with neither a feed-forward network.

    Args:
      in_features, out_features: numbers of channels.
      start_kernel, middle_kernel: filter sizes of the depthwise steps before and after the expansion; 0 omits a step.
      strides: strides of the second depthwise step, or of the first if there is no second.
      kernel_dilation: dilation of both depthwise steps.
      expanded_features: number of channels between the pointwise steps.
      activation: activation after the expansion and after the second depthwise step.
      layer_scale: initial value of the per-channel scale of the result; None disables it.
      drop_path, config, rngs: as in `InvertedResidual`.

    Raises:
      ValueError: a number is not positive, or there are strides and no depthwise step.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.UniversalInvertedResidual(8, 8, start_kernel=5, middle_kernel=3, expanded_features=32,
      ...                                          rngs=nnx.Rngs(0))
      >>> block(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        start_kernel: int,
        middle_kernel: int,
        strides: int = 1,
        kernel_dilation: int = 1,
        expanded_features: int,
        activation: Activation = jax.nn.relu,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        if strides > 1 and not (start_kernel or middle_kernel):
            raise ValueError(
                f"UniversalInvertedResidual: `strides` require a depthwise step, got strides={strides} with "
                "start_kernel=0 and middle_kernel=0"
            )

        def depthwise(features: int, size: int, strides: int, activation: Activation | None) -> ConvNorm | None:
            return (
                ConvNorm(
                    features,
                    features,
                    size,
                    strides=strides,
                    kernel_dilation=kernel_dilation,
                    depthwise=True,
                    activation=activation,
                    config=config,
                    rngs=rngs,
                )
                if size
                else None
            )

        self.start = nnx.data(depthwise(in_features, start_kernel, 1 if middle_kernel else strides, None))
        self.expand = ConvNorm(in_features, expanded_features, activation=activation, config=config, rngs=rngs)
        self.middle = nnx.data(depthwise(expanded_features, middle_kernel, strides, activation))
        self.project = ConvNorm(expanded_features, out_features, config=config, rngs=rngs)
        self.layer_scale = nnx.data(
            None if layer_scale is None else LayerScale(out_features, layer_scale, param_dtype=config.param_dtype)
        )
        skips = strides == 1 and in_features == out_features
        self.skip = nnx.data(Skip(drop_path, rngs=rngs) if skips else None)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the block: `(batch, height, width, in_features)` to `(batch, *out_size, out_features)`."""
        x = _after(self.start, self.expand, inputs)
        if self.layer_scale is None:
            return with_skip(self.skip, lambda added: _after(self.middle, self.project, x, added), inputs)
        x = self.layer_scale(_after(self.middle, self.project, x))
        return x if self.skip is None else self.skip(x, inputs)


def _after(
    depthwise: ConvNorm | None, pointwise: ConvNorm, inputs: jax.Array, skip: jax.Array | None = None
) -> jax.Array:
    """Applies the depthwise layer, if there is one, and then the pointwise layer; adds `skip` unless it is None."""
    if depthwise is None:
        return pointwise(inputs, skip=skip)
    return apply_separable(depthwise.step, pointwise.step, inputs, skip=skip)
