"""The attention block of MobileNet V4."""

import jax
import jax.numpy as jnp
from flax import nnx

from jds.nn._arguments import check_features
from jds.nn._conv_norm import ConvNorm
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig
from jds.nn._residual import LayerScale, Skip


class MultiQueryAttention(nnx.Module):
    """Attention over positions, with keys and values shared by all heads, and a skip connection.

    Mobile MQA from MobileNetV4, https://arxiv.org/abs/2404.10518.

    Args:
      features: number of channels.
      heads: number of queries per position.
      head_features: number of features of each query, key and value.
      key_strides: strides of a depthwise convolution, followed by a normalization, before keys and values; 1 omits
        both.
      kernel_size, kernel_dilation: filter size and dilation of that convolution.
      layer_scale: initial value of the per-channel scale of the result; None disables it.
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
        # All sizes are given explicitly, because -1 does not work for an empty batch.
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
