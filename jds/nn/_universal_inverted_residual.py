"""The universal inverted residual and the attention of MobileNet V4."""

import jax
import jax.numpy as jnp
from flax import nnx

from jds.nn._arguments import check_features
from jds.nn._conv_norm import ConvNorm, in_sequence
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig
from jds.nn._residual import LayerScale, Skip
from jds.ops._fused_block import Activation


class UniversalInvertedResidual(nnx.Module):
    """An inverted residual with a depthwise step before the expansion, after it, at both places or at none.

    From MobileNetV4, https://arxiv.org/abs/2404.10518: with the second step alone it is the inverted residual, with the
    first alone ConvNeXt's block, with both "ExtraDW", with none a feed-forward network.

    Args:
      in_features, out_features: numbers of channels.
      start_kernel, middle_kernel: size of the filters of the two depthwise steps; 0 for no such step.
      strides: of the second, or without it of the first.
      kernel_dilation: of both.
      expanded_features: channels between the pointwise steps.
      activation: after the expansion and the second depthwise step.
      layer_scale: what the factors of the result's channels are at first; None for no such factors.
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
                f"UniversalInvertedResidual: `strides` need a depthwise step, got strides={strides} with "
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
        x = self.expand(inputs) if self.start is None else in_sequence(self.start, self.expand, inputs)
        x = self.project(x) if self.middle is None else in_sequence(self.middle, self.project, x)
        x = x if self.layer_scale is None else self.layer_scale(x)
        return x if self.skip is None else self.skip(x, inputs)


class MultiQueryAttention(nnx.Module):
    """Attention over positions, with one key and one value for all heads; with a way around.

    Mobile MQA of MobileNetV4, https://arxiv.org/abs/2404.10518.

    Args:
      features: number of channels.
      heads: number of queries at each position.
      head_features: of each query, key and value.
      key_strides: of a depthwise convolution and a normalization before keys and values; 1 for none.
      kernel_size, kernel_dilation: of that convolution.
      layer_scale: what the factors of the result's channels are at first; None for no such factors.
      drop_path, config, rngs: as in `InvertedResidual`.

    Raises:
      ValueError: a number is not positive.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.MultiQueryAttention(8, heads=4, head_features=16, key_strides=2, rngs=nnx.Rngs(0))
      >>> block(jnp.ones((1, 6, 6, 8))).shape
      (1, 6, 6, 8)
    """

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        head_features: int,
        key_strides: int = 1,
        kernel_size: int = 3,
        kernel_dilation: int = 1,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        numbers = {"heads": heads, "head_features": head_features, "key_strides": key_strides}
        check_features("MultiQueryAttention", features=features, **numbers)

        def reduce() -> ConvNorm | None:
            return (
                ConvNorm(
                    features,
                    features,
                    kernel_size,
                    strides=key_strides,
                    kernel_dilation=kernel_dilation,
                    depthwise=True,
                    config=config,
                    rngs=rngs,
                )
                if key_strides > 1
                else None
            )

        def linear(in_features: int, out_features: int) -> nnx.Linear:
            return nnx.Linear(
                in_features,
                out_features,
                use_bias=False,
                dtype=config.dtype,
                param_dtype=config.param_dtype,
                kernel_init=config.kernel_init,
                rngs=rngs,
            )

        self.heads, self.head_features = heads, head_features
        self.norm = config.norm(features, rngs=rngs)
        self.query = linear(features, heads * head_features)
        self.reduce_key, self.key = nnx.data(reduce()), linear(features, head_features)
        self.reduce_value, self.value = nnx.data(reduce()), linear(features, head_features)
        self.output = linear(heads * head_features, features)
        self.layer_scale = nnx.data(
            None if layer_scale is None else LayerScale(features, layer_scale, param_dtype=config.param_dtype)
        )
        self.skip = Skip(drop_path, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the block to `(batch, height, width, features)`."""
        x = self.norm(inputs)
        batch, height, width, _ = x.shape
        # All sizes by number, so that an empty batch has them, too.
        query = self.query(x).reshape(batch, height * width, self.heads, self.head_features)
        key, value = (
            _of_each_position(linear(x if reduce is None else reduce(x)))
            for linear, reduce in ((self.key, self.reduce_key), (self.value, self.reduce_value))
        )
        scores = jnp.einsum("bqhd,bkd->bhqk", query, key) * float(query.shape[-1] ** -0.5)
        wide = scores.dtype if scores.dtype == jnp.float64 else jnp.float32
        weights = jax.nn.softmax(scores.astype(wide))
        out = jnp.einsum("bhqk,bkd->bqhd", weights.astype(value.dtype), value)
        out = self.output(out.reshape(batch, height, width, self.heads * self.head_features))
        return self.skip(out if self.layer_scale is None else self.layer_scale(out), inputs)


def _of_each_position(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])
