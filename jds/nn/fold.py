"""Batch normalisation, folded into the convolutions before it."""

from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from jds.nn.conv import DepthwiseConv, PointwiseConv
from jds.nn.mixed import MixedConv
from jds.nn.norm import BatchNorm

M = TypeVar("M", bound=nnx.Module)

# Each has a kernel with the output channels last, `out_features` and `bias`, and adds the bias last.
_CONVOLUTIONS = (nnx.Conv, DepthwiseConv, PointwiseConv)


def fold_batch_norm(model: M) -> M:
    """Returns a model for evaluation with each batch normalisation folded into the convolution before it.

    In evaluation a batch normalisation multiplies each channel by a number and adds another. Both go into the kernel
    and the bias of the convolution, and what is left, a convolution with bias and activation, is one equation: see
    `jds.separable_conv`.

    Folded are `nnx.BatchNorm` and `jds.nn.BatchNorm` over the last axis, directly after an `nnx.Conv`, `DepthwiseConv`
    or `PointwiseConv`, in `SeparableConv`, in the networks of `jds.models`, in `nnx.Sequential`, and in any module that
    says which of its norms follows which of its convolutions, and does without a norm that is None:
    `foldable_norms = {"norm": "conv"}`. All other norms stay as they are. A folded layer computes in its convolution's
    dtype; the norm's goes with the norm.

    Args:
      model: any module in evaluation mode, at whatever depth the layers to fold are. It is left as it is.

    Returns:
      A model of the same type, whose parameters are new where they were folded; it shares the arrays of the others.

    Raises:
      TypeError: the model is no `nnx.Module`.
      ValueError: a batch normalisation is in training mode.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.SeparableConv(8, 16, (3, 3), depthwise_norm=nnx.BatchNorm, depthwise_activation=jax.nn.relu,
      ...                              pointwise_norm=nnx.BatchNorm, use_bias=False, rngs=nnx.Rngs(0))
      >>> block.eval()
      >>> folded = jds.fold_batch_norm(block)
      >>> folded.depthwise_norm is None and folded.pointwise.bias.shape
      (16,)
      >>> images = jnp.ones((1, 8, 8, 8))
      >>> bool(jnp.allclose(folded(images), block(images), rtol=1e-4, atol=1e-5))
      True
    """
    if not isinstance(model, nnx.Module):
        raise TypeError(f"fold_batch_norm: `model` must be an nnx.Module, got {model!r}")
    folded = nnx.clone(model)
    modules = list(nnx.iter_modules(folded))
    for path, module in modules:
        if isinstance(module, nnx.BatchNorm) and not module.use_running_average:
            raise ValueError(
                "fold_batch_norm: `model` must be in evaluation mode, and its batch normalisation "
                f"{'.'.join(map(str, path)) or 'itself'} has use_running_average={module.use_running_average}; call "
                "`model.eval()` first"
            )
    for _, module in modules:
        if isinstance(module, nnx.Sequential):
            module.layers = nnx.List(_fold_sequence(list(module.layers)))
        for norm, conv in getattr(module, "foldable_norms", {}).items():
            if _fits(getattr(module, conv), getattr(module, norm)):
                setattr(module, conv, _fold(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, None)
    return folded


def _fold_sequence(layers: list) -> list:
    for place in range(len(layers) - 1):
        if _fits(layers[place], layers[place + 1]):
            layers[place] = _fold(layers[place], layers[place + 1])
            layers[place + 1] = _identity  # the layers after it keep their places, and their parameters' names
    return layers


def _identity(inputs: jax.Array) -> jax.Array:
    return inputs


def _fits(conv: Any, norm: Any) -> bool:
    # A subclass might do anything between its convolution and its result.
    convs = conv.convs if type(conv) is MixedConv else [conv]
    if any(type(part) not in _CONVOLUTIONS for part in convs) or type(norm) not in (nnx.BatchNorm, BatchNorm):
        return False
    return norm.axis == -1 and norm.mean.shape == (conv.out_features,)


def _fold(conv: Any, norm: nnx.BatchNorm) -> Any:
    """Returns a new convolution: another module may have the old one, or one of its parameters, as well."""
    if isinstance(conv, MixedConv):
        folded = nnx.clone(conv)
        parts: list[Any] = list(conv.convs)
        ends = np.cumsum([part.out_features for part in parts])
        folded.convs = nnx.List(
            _fold(part, _part_of(norm, slice(end - part.out_features, end)))
            for part, end in zip(parts, ends, strict=True)
        )
        return folded
    parameters = (conv.kernel, conv.bias, norm.mean, norm.var, norm.scale, norm.bias)
    arrays: Any = [None if parameter is None else parameter[...] for parameter in parameters]
    kernel, bias = _folded_arrays(arrays, norm.epsilon)
    folded = nnx.clone(conv)
    if folded.bias is None:
        folded.bias = nnx.Param(bias) if norm.bias is None else nnx.clone(norm.bias)
    # Set, not replaced, so that their metadata stay, such as their sharding.
    folded.kernel.set_value(kernel)
    folded.bias.set_value(bias)
    if isinstance(folded, nnx.Conv):
        folded.use_bias = True
    return folded


def _part_of(norm: nnx.BatchNorm, features: slice) -> nnx.BatchNorm:
    """The normalisation of some of the features."""
    part = nnx.clone(norm)
    for name in ("mean", "var", "scale", "bias"):
        variable = getattr(part, name)
        if variable is not None:
            setattr(part, name, variable.replace(variable[...][features]))
    return part


def _folded_arrays(arrays: Any, epsilon: float) -> Any:
    """Folds in float64 by NumPy, for which no shape is compiled; in a trace, in float32 or the kernel's float64."""
    kernel, _, mean, _, _, offset = arrays
    is_traced = any(isinstance(array, Tracer) for array in arrays)
    xp: Any = jnp if is_traced else np
    wide = np.float32 if is_traced and kernel.dtype != np.float64 else np.float64
    weights, *rest = (v if v is None else xp.asarray(v).astype(wide) for v in arrays)
    old, centre, spread, gain, shift = cast(list[Any], rest)
    factor = 1 / xp.sqrt(spread + epsilon)
    factor = factor if gain is None else factor * gain
    centre = -centre if old is None else old - centre
    shift = centre * factor if shift is None else centre * factor + shift
    folded = weights * factor.reshape((1,) * (kernel.ndim - 1) + factor.shape)
    if is_traced:
        return folded.astype(kernel.dtype), shift.astype(kernel.dtype)
    like = mean if offset is None else offset
    return tuple(
        jax.device_put(array.astype(kernel.dtype), of.sharding) for array, of in ((folded, kernel), (shift, like))
    )
