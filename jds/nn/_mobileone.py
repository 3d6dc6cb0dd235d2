"""The MobileOne block: several branches for training, one convolution for inference."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jds.nn._affine import Affine
from jds.nn._arguments import check_activation, check_features
from jds.nn._batch_norm_folding import wide_factor_and_offset
from jds.nn._conv import DepthwiseConv
from jds.nn._conv_norm import ConvNorm
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig
from jds.nn._residual import Skip
from jds.nn._squeeze_excite import SqueezeExcite
from jds.ops._fused_block import Activation


class MobileOneBlock(nnx.Module):
    """A sum of same-sized convolutions, a 1×1 convolution and the identity, each with its own normalization.

    From MobileOne, https://arxiv.org/abs/2206.04040. `jds.reparameterize` merges them into one convolution.

    Args:
      in_features, out_features: numbers of channels.
      kernel_size, strides, kernel_dilation: filter size, strides and dilation of the convolutions.
      depthwise: whether each channel has its own filters.
      branches: number of convolutions of size `kernel_size`.
      use_identity: whether to add an identity branch if strides and numbers of channels allow one.
      squeeze_features: number of squeezed features of the squeeze and excitation after the sum; 0 omits it.
      activation: activation after the sum.
      drop_path: drop rate, in training, of all branches except the identity.
      config: normalization, padding and dtypes.
      rngs: provides the `params` key and, for `drop_path`, the `dropout` key.

    Raises:
      ValueError: a number is not positive.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.MobileOneBlock(8, 8, 3, depthwise=True, branches=4, rngs=nnx.Rngs(0))
      >>> block(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int = 3,
        *,
        strides: int = 1,
        kernel_dilation: int = 1,
        depthwise: bool = False,
        branches: int = 1,
        use_identity: bool = True,
        squeeze_features: int = 0,
        activation: Activation = jax.nn.relu,
        drop_path: float = 0.0,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        check_features("MobileOneBlock", kernel_size=kernel_size, branches=branches)
        check_activation("MobileOneBlock", activation=activation)

        def convolution(size: int) -> ConvNorm:
            return ConvNorm(
                in_features,
                out_features,
                size,
                strides=strides,
                kernel_dilation=kernel_dilation,
                depthwise=depthwise,
                config=config,
                rngs=rngs,
            )

        self.branches = nnx.List(convolution(kernel_size) for _ in range(branches))
        self.scale = nnx.data(convolution(1) if kernel_size > 1 else None)
        use_identity = use_identity and strides == 1 and in_features == out_features
        self.identity = nnx.data(config.norm(out_features, rngs=rngs) if use_identity else None)
        self.skip = nnx.data(Skip(drop_path, rngs=rngs) if use_identity else None)
        self.squeeze_excite = nnx.data(
            SqueezeExcite(out_features, squeeze_features, config=config, rngs=rngs) if squeeze_features else None
        )
        self.activation: Activation | None = activation

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the block: `(batch, height, width, in_features)` to `(batch, *out_size, out_features)`."""
        first, *others = (step for step in (*self.branches, self.scale) if step is not None)
        out = sum((step(inputs) for step in others), first(inputs))
        out = out if self.identity is None or self.skip is None else self.skip(out, self.identity(inputs))
        out = out if self.squeeze_excite is None else self.squeeze_excite(out)
        return out if self.activation is None else self.activation(out)

    def merge_branches(self, name: str) -> None:
        """Merges the branches into one convolution, in place. Their batch normalizations must be folded.

        Args:
          name: name of the block, for error messages.

        Raises:
          ValueError: strided branches have padding `"SAME"`, which places the centers of their kernels differently.
        """
        layers = [layer for layer in (*self.branches, self.scale) if layer is not None]
        conv: Any = self.branches[0].conv
        if self.scale is not None and conv.padding == "SAME" and max(conv.strides) > 1:
            raise ValueError(
                f"reparameterize: the branches of {name} have strides and padding 'SAME', which places their centers "
                "at different positions; build the network with padding='TORCH'"
            )
        kernels, biases = zip(*map(_kernel_and_bias, layers), strict=True)
        size = kernels[0].shape[:-2]
        kernel, bias = sum(_centered(kernel, size) for kernel in kernels), sum(biases)
        if self.identity is not None:
            factor, offset = wide_factor_and_offset(self.identity)
            kernel, bias = kernel + _centered(_scaling(conv, factor), size), bias + offset
        merged = nnx.clone(self.branches[0])
        merged.conv.kernel.set_value(jnp.asarray(kernel, merged.conv.kernel[...].dtype))
        if isinstance(merged.norm, Affine):
            merged.norm = Affine(None, nnx.Param(jnp.asarray(bias, merged.norm.bias[...].dtype)), merged.norm.dtype)
        else:
            merged.conv.bias.set_value(jnp.asarray(bias, merged.conv.bias[...].dtype))
        if self.squeeze_excite is None:
            merged.activation, self.activation = self.activation, None
        self.branches, self.scale, self.identity, self.skip = nnx.List([merged]), None, None, None


def _kernel_and_bias(layer: ConvNorm) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias in float64, including the affine step left by a folded normalization."""
    kernel = _wide(layer.conv.kernel)
    if isinstance(layer.norm, Affine):
        return kernel * _wide(layer.norm.scale), _wide(layer.norm.bias)
    return kernel, _wide(layer.conv.bias)


def _wide(variable: Any) -> np.ndarray:
    return np.asarray(variable[...], np.float64)


def _centered(kernel: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Returns the kernel padded with zeros to a larger size."""
    pads = [((wanted - got) // 2,) * 2 for wanted, got in zip(size, kernel.shape, strict=False)]
    return np.pad(kernel, [*pads, (0, 0), (0, 0)])


def _scaling(conv: Any, factor: np.ndarray) -> np.ndarray:
    """Returns the 1×1 kernel that multiplies each channel by its factor."""
    return factor[None, None, None] if isinstance(conv, DepthwiseConv) else np.diag(factor)[None, None]
