"""Squeeze and excitation."""

import jax
from flax import nnx

from jds.nn._arguments import check_activation, check_features
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig
from jds.nn._linear import Linear
from jds.ops._fused_block import Activation
from jds.ops._layers import squeeze_excite


class SqueezeExcite(nnx.Module):
    """Scales each channel by a gate computed from the means of all channels.

    From Squeeze-and-Excitation Networks, https://arxiv.org/abs/1709.01507.

    Args:
      features: number of channels.
      squeeze_features: output features of the first of the two linear layers.
      activation: activation between the linear layers.
      gate: activation after the second linear layer.
      config: dtypes of the layers.
      rngs: provides the `params` key.

    Raises:
      ValueError: a number is not positive.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> jds.nn.SqueezeExcite(8, 2, rngs=nnx.Rngs(0))(jnp.ones((1, 4, 4, 8))).shape
      (1, 4, 4, 8)
    """

    def __init__(
        self,
        features: int,
        squeeze_features: int,
        *,
        activation: Activation = jax.nn.relu,
        gate: Activation = jax.nn.sigmoid,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        check_features("SqueezeExcite", features=features, squeeze_features=squeeze_features)
        check_activation("SqueezeExcite", activation=activation, gate=gate)
        shared = {"dtype": config.dtype, "param_dtype": config.param_dtype, "kernel_init": config.kernel_init}
        self.squeeze = Linear(features, squeeze_features, rngs=rngs, **shared)
        self.excite = Linear(squeeze_features, features, rngs=rngs, **shared)
        self.activation, self.gate = activation, gate

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the layer to `(batch, height, width, features)`."""
        layers = (self.squeeze, self.activation), (self.excite, self.gate)
        if all(type(layer) is Linear and layer.is_plain for layer, _ in layers):
            operands = [(*layer.operands(inputs), activation, layer.precision) for layer, activation in layers]
            if all(images.dtype == inputs.dtype for images, *_ in operands):
                return squeeze_excite(inputs, *(rest for _, *rest in operands))
        means = inputs.mean((1, 2))
        factors = self.gate(self.excite(self.activation(self.squeeze(means))))
        return inputs * factors[:, None, None, :].astype(inputs.dtype)
