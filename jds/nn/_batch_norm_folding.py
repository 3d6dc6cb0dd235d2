"""Folds batch normalization into the preceding convolutions."""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from jds.nn._affine import Affine
from jds.nn._batch_norm import BatchNorm, at_least_float32, factor_and_offset
from jds.nn._conv import DepthwiseConv, OrdinaryConv, PointwiseConv
from jds.nn._mixed_conv import MixedConv

M = TypeVar("M", bound=nnx.Module)

# Each has a `kernel` with the output channels last, `out_features` and `bias`, and adds the bias last.
_CONVOLUTIONS = (nnx.Conv, OrdinaryConv, DepthwiseConv, PointwiseConv)


def fold_batch_norm(model: M) -> M:
    """Returns a model for evaluation with each batch normalization folded into the convolution before it.

    In evaluation, batch normalization multiplies each channel by a factor and adds an offset. Both are folded into the
    kernel and the bias of the convolution, which leaves a convolution with bias and activation. That is one fused op;
    see `jds.separable_conv`.

    An `nnx.BatchNorm` or `jds.nn.BatchNorm` over the last axis is folded if it directly follows an `nnx.Conv`,
    `DepthwiseConv` or `PointwiseConv`. It may be in `SeparableConv`, in a network of `jds.models`, in `nnx.Sequential`,
    or in any module that declares which of its norms follows which of its convolutions, as in
    `foldable_norms = {"norm": "conv"}`, and that skips a norm that is None. All other norms stay as they are.

    A kernel that is stored or computed in 16 bits is not changed, because a factor would round its weights again: the
    norm is then replaced by a float32 factor and offset, which are part of the convolution's fused op, and results keep
    the norm's dtype. Otherwise, a folded layer computes in its convolution's dtype, and the norm's dtype no longer
    applies.

    Args:
      model: any module in evaluation mode. Layers are folded at any depth; the model itself is not changed.

    Returns:
      A model of the same type. Folded layers have new parameters; the other arrays are shared with `model`.

    Raises:
      TypeError: the model is not an `nnx.Module`.
      ValueError: a batch normalization is in training mode.

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
                "fold_batch_norm: `model` must be in evaluation mode, and its batch normalization "
                f"{'.'.join(map(str, path)) or 'itself'} has use_running_average={module.use_running_average}; call "
                "`model.eval()` first"
            )
    for _, module in modules:
        if isinstance(module, nnx.Sequential):
            module.layers = nnx.List(_fold_sequence(list(module.layers)))
        for norm, conv in getattr(module, "foldable_norms", {}).items():
            if _fits(getattr(module, conv), getattr(module, norm)):
                folded_conv, rest = _fold(getattr(module, conv), getattr(module, norm))
                setattr(module, conv, folded_conv)
                setattr(module, norm, rest)
    return folded


def _fold_sequence(layers: list) -> list:
    for place in range(len(layers) - 1):
        if _fits(layers[place], layers[place + 1]):
            layers[place], rest = _fold(layers[place], layers[place + 1])
            layers[place + 1] = rest or _identity  # keeps the positions of later layers, and their parameters' names
    return layers


def _identity(inputs: jax.Array) -> jax.Array:
    return inputs


def _parts(conv: Any) -> list[Any]:
    return list(conv.convs) if type(conv) is MixedConv else [conv]


def _fits(conv: Any, norm: Any) -> bool:
    # A subclass might do anything between its convolution and its result.
    if any(type(part) not in _CONVOLUTIONS for part in _parts(conv)) or type(norm) not in (nnx.BatchNorm, BatchNorm):
        return False
    return norm.axis == -1 and norm.mean.shape == (conv.out_features,)


def _fold(conv: Any, norm: nnx.BatchNorm) -> tuple[Any, Affine | None]:
    """Returns a new convolution, because the old one may be shared, and the remaining affine step, if any."""
    parts = _parts(conv)
    ends = np.cumsum([part.out_features for part in parts])
    channels = [slice(end - part.out_features, end) for part, end in zip(parts, ends, strict=True)]
    factor, offset = wide_factor_and_offset(norm, parts)
    if narrowest(*(dtype for part in parts for dtype in (part.kernel.dtype, part.dtype))).itemsize < 4:
        folded = [_with_bias(part, None, norm) for part in parts]
        rest = Affine(_like(norm.scale, factor, norm.mean), _like(norm.bias, offset, norm.mean), norm.dtype)
    else:
        folded, rest = [], None
        for part, own in zip(parts, channels, strict=True):
            new = _with_bias(part, offset[own], norm)
            # Set rather than replaced, to keep metadata such as its sharding.
            new.kernel.set_value(_placed(_times(part.kernel[...], factor[own]), part.kernel[...]))
            folded.append(new)
    if type(conv) is not MixedConv:
        return folded[0], rest
    mixed = nnx.clone(conv)
    mixed.convs = nnx.List(folded)
    return mixed, rest


def narrowest(*dtypes: Any) -> np.dtype:
    """Returns the dtype with the fewest bits, ignoring None."""
    return min((jnp.dtype(dtype) for dtype in dtypes if dtype is not None), key=lambda dtype: dtype.itemsize)


def wide_factor_and_offset(norm: Any, convs: Sequence[Any] = ()) -> tuple[Any, Any]:
    """Returns factor and offset of a batch normalization in evaluation, including the preceding biases.

    They are computed in float64 with NumPy, which compiles nothing; under tracing, in float32, or in float64 if the
    parameters are.
    """
    variables = (norm.mean, norm.var, norm.scale, norm.bias)
    values = [None if variable is None else variable[...] for variable in variables]
    kernels, biases = [conv.kernel[...] for conv in convs], [conv.bias for conv in convs]
    arrays = [*values, *kernels, *(None if bias is None else bias[...] for bias in biases)]
    xp, wide = np, np.float64
    if any(isinstance(array, Tracer) for array in arrays):
        xp, wide = jnp, np.float64 if kernels and kernels[0].dtype == np.float64 else np.float32
    mean, var, scale, bias = (None if value is None else xp.asarray(value).astype(wide) for value in values)
    factor, offset = factor_and_offset(mean, var, scale, bias, norm.epsilon, xp)
    if any(bias is not None for bias in biases):
        zeros = (
            xp.zeros(conv.out_features, wide) if conv.bias is None else xp.asarray(conv.bias[...]).astype(wide)
            for conv in convs
        )
        offset = offset + factor * xp.concatenate(list(zeros))
    return factor, offset


def _times(kernel: jax.Array, factor: Any) -> Any:
    wide = jnp.asarray(kernel) if isinstance(factor, jax.Array) else np.asarray(kernel)
    return wide.astype(factor.dtype) * factor.reshape((1,) * (kernel.ndim - 1) + factor.shape)


def _with_bias(conv: Any, bias: Any, norm: Any) -> Any:
    """Returns a new convolution with this bias, or without one."""
    folded = nnx.clone(conv)
    if bias is None:
        folded.bias = None
    elif folded.bias is None:
        folded.bias = _like(norm.bias, bias, norm.mean, folded.kernel.dtype)
    else:
        folded.bias.set_value(_placed(bias, norm.mean[...] if norm.bias is None else norm.bias[...], folded.bias.dtype))
    if isinstance(folded, nnx.Conv):
        folded.use_bias = bias is not None
    return folded


def _like(variable: Any, value: Any, of: Any, dtype: Any = None) -> nnx.Param:
    """Returns a parameter with the metadata of `variable`, if any; in at least float32 unless `dtype` is given."""
    dtype = dtype or at_least_float32(of.dtype)
    if variable is None:
        return nnx.Param(_placed(value, of[...], dtype))
    new = nnx.clone(variable)
    new.set_value(_placed(value, variable[...], dtype))
    return new


def _placed(value: Any, of: jax.Array, dtype: Any = None) -> jax.Array:
    """Returns `value` as an array placed like `of`, with the dtype of `of` unless `dtype` is given."""
    value = value.astype(dtype or of.dtype)
    # Parameters may be NumPy arrays, which are nowhere yet.
    is_anywhere = isinstance(value, Tracer) or not isinstance(of, jax.Array)
    return value if is_anywhere else jax.device_put(value, of.sharding)
