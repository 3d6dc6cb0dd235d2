"""Branches that are added up, as one convolution."""

from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jds.nn._affine import Affine
from jds.nn._batch_norm import factor_and_offset
from jds.nn._batch_norm_folding import fold_batch_norm
from jds.nn._conv import DepthwiseConv
from jds.nn._conv_norm import ConvNorm
from jds.nn._mobileone import MobileOneBlock

M = TypeVar("M", bound=nnx.Module)


def reparameterize(model: M) -> M:
    """Returns a model for evaluation in which each of MobileOne's blocks is one convolution.

    Convolutions of the same inputs that are added up are one convolution with the sum of their kernels, once their
    normalizations are folded; one of size 1 is one with a single weight in its middle, and the inputs themselves are
    one with a weight of 1. From MobileOne, https://arxiv.org/abs/2206.04040.

    Sums of kernels of 16 bits, or that are computed in 16 bits, are rounded once more than the kernels were: where the
    inputs' mean is several times their deviation, results are up to about twice as far from the true ones.

    Args:
      model: any module in evaluation mode. It is left as it is.

    Returns:
      A model of the same type, with all batch normalizations folded that can be.

    Raises:
      TypeError: the model is no `nnx.Module`.
      ValueError: a batch normalization is in training mode, or branches with strides are padded as TensorFlow does, so
        that their middles are not at the same place.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.MobileOneBlock(8, 8, 3, depthwise=True, branches=4, rngs=nnx.Rngs(0))
      >>> block.eval()
      >>> one = jds.reparameterize(block)
      >>> jds.count_parameters(block), jds.count_parameters(one)
      (392, 80)
      >>> images = jnp.ones((1, 8, 8, 8))
      >>> bool(jnp.allclose(one(images), block(images), rtol=1e-4, atol=1e-5))
      True
    """
    folded = fold_batch_norm(model)
    for path, module in list(nnx.iter_modules(folded)):
        if isinstance(module, MobileOneBlock):
            _merge(module, "/".join(map(str, path)) or "the block")
    return folded


def _merge(block: MobileOneBlock, name: str) -> None:
    first: Any = block.branches[0].conv
    kernels, biases = zip(
        *(_arrays(layer) for layer in (*block.branches, block.scale) if layer is not None), strict=True
    )
    size = first.kernel_size if hasattr(first, "kernel_size") else (1, 1)
    if block.scale is not None and first.padding == "SAME" and max(first.strides) > 1:
        raise ValueError(
            f"reparameterize: the branches of {name} have strides and padding 'SAME', so that their middles are not at "
            "the same place; build the network with padding='TORCH'"
        )
    kernel = sum(_in_the_middle(kernel, size) for kernel in kernels)
    bias = sum(biases)
    if block.identity is not None:
        norm: Any = block.identity
        mean, var, scale, offset = map(_wide, (norm.mean, norm.var, norm.scale, norm.bias))
        factor, offset = factor_and_offset(mean, var, scale, offset, norm.epsilon, np)
        kernel, bias = kernel + _in_the_middle(_unit(first, factor), size), bias + offset
    merged = nnx.clone(block.branches[0])
    merged.conv.kernel.set_value(jnp.asarray(kernel, merged.conv.kernel[...].dtype))
    if isinstance(merged.norm, Affine):
        merged.norm = Affine(None, nnx.Param(jnp.asarray(bias, merged.norm.bias[...].dtype)), merged.norm.dtype)
    else:
        merged.conv.bias.set_value(jnp.asarray(bias, merged.conv.bias[...].dtype))
    if block.squeeze_excite is None:
        merged.activation, block.activation = block.activation, None
    block.branches, block.scale, block.identity, block.skip = nnx.List([merged]), None, None, None


def _arrays(layer: ConvNorm) -> tuple[np.ndarray, np.ndarray]:
    kernel = _wide(layer.conv.kernel)
    if isinstance(layer.norm, Affine):
        return kernel * _wide(layer.norm.scale), _wide(layer.norm.bias)
    return kernel, _wide(layer.conv.bias)


def _wide(variable: Any) -> Any:
    return None if variable is None else np.asarray(variable[...], np.float64)


def _in_the_middle(kernel: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    pads = [((wanted - got) // 2,) * 2 for wanted, got in zip(size, kernel.shape, strict=False)]
    return np.pad(kernel, [*pads, (0, 0), (0, 0)])


def _unit(conv: Any, factor: np.ndarray) -> np.ndarray:
    """The kernel of size 1 that multiplies each channel by its factor."""
    return factor[None, None, None] if isinstance(conv, DepthwiseConv) else np.diag(factor)[None, None]
