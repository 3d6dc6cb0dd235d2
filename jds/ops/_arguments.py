"""Checks the arrays that are passed to the public functions."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import primitives

from jds.ops import _dispatch
from jds.ops._dispatch import Implementation
from jds.ops._fused_block import Block, Epilogue
from jds.ops._fused_primitive import compose
from jds.ops._recognize import recognize, with_typical_batch

_DTYPES = tuple(map(jnp.dtype, (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)))


def check_arrays(function: str, inputs, kernel, name: str) -> tuple[jax.Array, jax.Array]:
    """Returns inputs and kernel as arrays if their dtypes and ranks fit; `name` is the kernel's argument name."""
    inputs, kernel = jnp.asarray(inputs), jnp.asarray(kernel)
    for argument, array in (("inputs", inputs), (name, kernel)):
        if array.dtype not in _DTYPES:
            raise TypeError(
                f"{function}: `{argument}` must have one of the dtypes {', '.join(d.name for d in _DTYPES)}, got "
                f"{array.dtype.name}"
            )
    if inputs.dtype != kernel.dtype:
        raise TypeError(
            f"{function}: `inputs` and `{name}` must have the same dtype, got {inputs.dtype.name} and "
            f"{kernel.dtype.name}; cast one of them with `astype`"
        )
    if not 3 <= kernel.ndim <= 5:
        raise ValueError(
            f"{function}: `{name}` must have 1, 2 or 3 spatial axes and two feature axes, got shape {kernel.shape}"
        )
    if inputs.ndim < kernel.ndim - 1:
        raise ValueError(
            f"{function}: `inputs` must have shape (*batch, *spatial, in_features) with the kernel's "
            f"{kernel.ndim - 2} spatial axes, got inputs {inputs.shape} and kernel {kernel.shape}"
        )
    return inputs, kernel


def check_groups(function: str, inputs: jax.Array, kernel: jax.Array, groups: int) -> int:
    """Returns the number of groups as an int after checking that it divides the features."""
    in_features, out_features = inputs.shape[-1], kernel.shape[-1]
    try:
        groups = operator.index(groups)
    except TypeError:
        raise TypeError(f"{function}: `feature_group_count` must be an int, got {groups!r}") from None
    if groups < 1 or in_features % groups or out_features % groups:
        raise ValueError(
            f"{function}: `feature_group_count` must be a positive int that divides in_features={in_features} and "
            f"out_features={out_features}, got {groups!r}"
        )
    if in_features // groups != kernel.shape[-2]:
        raise ValueError(
            f"{function}: the kernel's in_features must be the inputs' divided by the groups, {in_features} // {groups}"
            f" = {in_features // groups}, got {kernel.shape[-2]} (inputs {inputs.shape}, kernel {kernel.shape})"
        )
    return groups


def check_depthwise(function: str, inputs: jax.Array, kernel: jax.Array, name: str) -> int:
    """Returns the number of groups, one per input channel, if the kernel is a depthwise one for the inputs."""
    features = inputs.shape[-1]
    if kernel.shape[-2] != 1 or features < 1 or kernel.shape[-1] % features:
        raise ValueError(
            f"{function}: `{name}` must have shape (*kernel_size, 1, in_features * channel_multiplier), got "
            f"{kernel.shape} for in_features={features} of inputs {inputs.shape}"
        )
    return features


def check_one_position(function: str, kernel: jax.Array, name: str) -> None:
    """Raises ValueError unless the kernel has a single position."""
    if any(size != 1 for size in kernel.shape[:-2]):
        raise ValueError(
            f"{function}: `{name}` must have one position, shape (1, ..., 1, in_features, out_features), got "
            f"{kernel.shape}; use `conv` for larger kernels"
        )


def check_pair(function: str, first: jax.Array, second: jax.Array) -> None:
    """Raises ValueError or TypeError unless the kernels of a depthwise and a pointwise step fit each other."""
    if first.ndim != second.ndim:
        raise ValueError(
            f"{function}: `depthwise_kernel` and `pointwise_kernel` must have the same rank, got shapes "
            f"{first.shape} and {second.shape}"
        )
    if first.shape[-1:] != second.shape[-2:-1]:
        raise ValueError(
            f"{function}: the pointwise kernel's in_features must be the depthwise kernel's out_features, got "
            f"shapes {first.shape} and {second.shape}"
        )
    if first.dtype != second.dtype:
        raise TypeError(
            f"{function}: `depthwise_kernel` and `pointwise_kernel` must have the same dtype, got "
            f"{first.dtype.name} and {second.dtype.name}; cast one of them with `astype`"
        )


def check_epilogue(
    function: str, prefix: str, epilogue: Epilogue, kernel: jax.Array
) -> tuple[jax.Array | None, jax.Array | None]:
    """Returns scale and bias as arrays after checking them and the activation against the kernel."""
    if epilogue.activation is not None and not callable(epilogue.activation):
        raise TypeError(
            f"{function}: `{prefix}activation` must be a function of an array, such as `jax.nn.relu`, or None, got "
            f"{epilogue.activation!r}"
        )
    return (
        _per_channel(function, f"{prefix}scale", epilogue.scale, kernel),
        _per_channel(function, f"{prefix}bias", epilogue.bias, kernel),
    )


def _per_channel(function: str, name: str, values, kernel: jax.Array) -> jax.Array | None:
    if values is None:
        return None
    values = jnp.asarray(values)
    if values.shape != kernel.shape[-1:]:
        raise ValueError(
            f"{function}: `{name}` must have one value per output channel, shape {kernel.shape[-1:]}, got "
            f"{values.shape}"
        )
    wide = " or float32" if kernel.dtype.itemsize < 4 else ""
    if values.dtype != kernel.dtype and not (wide and values.dtype == jnp.float32):
        raise TypeError(
            f"{function}: `{name}` must have the kernel's dtype, {kernel.dtype.name}{wide}, got {values.dtype.name}; "
            "cast it with `astype`"
        )
    return values


def check_skip(function: str, skip, shape: tuple[Any, ...], dtype: jnp.dtype) -> jax.Array:
    """Returns what is added to the result, as an array, if it has the result's shape and dtype."""
    skip = jnp.asarray(skip)
    if skip.shape != shape:
        raise ValueError(f"{function}: `skip` must have the shape of the result, {shape}, got {skip.shape}")
    if skip.dtype != dtype:
        raise TypeError(
            f"{function}: `skip` must have the dtype of the result, {dtype.name}, got {skip.dtype.name}; cast it with "
            "`astype`"
        )
    return skip


def check_supported(
    function: str, implementation: Implementation, block: Block, images: jax.Array, operands: Sequence[jax.Array]
) -> None:
    """Raises NotImplementedError unless the implementation can compute every convolution of the block."""
    for equation in jax.make_jaxpr(functools.partial(compose, block=block))(images, *operands).eqns:
        if equation.primitive is not primitives.conv_general_dilated_p:
            continue
        lhs, rhs, out = (variable.aval for variable in (*equation.invars, *equation.outvars))
        typical = with_typical_batch(lhs, rhs, out, equation.params)
        if typical is None:
            obstacle = f"`{implementation}` supports no symbolic sizes but the batch"
        else:
            obstacle = _dispatch.IMPLEMENTATIONS[implementation].unsupported(recognize(*typical, equation.params))
        if obstacle:
            shapes = f"inputs {images.shape}, kernel {operands[0].shape}"
            raise NotImplementedError(f"{function}: {obstacle} ({shapes}); use implementation=None")
