"""What the public functions check of their arrays."""

import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jds.ops import dispatch
from jds.ops.block import Epilogue
from jds.ops.dispatch import Implementation
from jds.ops.recognise import recognise_equation

_DTYPES = tuple(map(jnp.dtype, (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)))


def check_arrays(function: str, inputs, kernel, name: str = "kernel") -> tuple[jax.Array, jax.Array]:
    """Checks what can be said of the two arrays before the convolution is known; the second one has this name."""
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
            f"{function}: `{name}` must have 1, 2 or 3 spatial axes and two for features, got shape {kernel.shape}"
        )
    if inputs.ndim < kernel.ndim - 1:
        raise ValueError(
            f"{function}: `inputs` must have shape (*batch, *spatial, in_features) with the kernel's "
            f"{kernel.ndim - 2} spatial axes, got inputs {inputs.shape} and kernel {kernel.shape}"
        )
    return inputs, kernel


def check_features(function: str, inputs: tuple[int, ...], kernel: tuple[int, ...], groups: int) -> int:
    """Returns the number of groups as an int, if the features fit it."""
    try:
        groups = operator.index(groups)
    except TypeError:
        raise TypeError(f"{function}: `feature_group_count` must be an int, got {groups!r}") from None
    if groups < 1 or inputs[-1] % groups or kernel[-1] % groups:
        raise ValueError(
            f"{function}: `feature_group_count` must be a positive int that divides in_features={inputs[-1]} and "
            f"out_features={kernel[-1]}, got {groups!r}"
        )
    if inputs[-1] // groups != kernel[-2]:
        raise ValueError(
            f"{function}: the kernel's in_features must be the inputs' divided by the groups, {inputs[-1]} // {groups}"
            f" = {inputs[-1] // groups}, got {kernel[-2]} (inputs {inputs}, kernel {kernel})"
        )
    return groups


def check_depthwise(function: str, inputs, kernel, name: str = "kernel") -> tuple[jax.Array, jax.Array]:
    """Checks that the kernel, which has this name, is a depthwise one for the inputs."""
    inputs, kernel = check_arrays(function, inputs, kernel, name)
    features = inputs.shape[-1]
    if kernel.shape[-2] != 1 or features < 1 or kernel.shape[-1] % features:
        raise ValueError(
            f"{function}: `{name}` must have shape (*kernel_size, 1, in_features * channel_multiplier), got "
            f"{kernel.shape} for in_features={features} of inputs {inputs.shape}"
        )
    return inputs, kernel


def check_pointwise(function: str, kernel: jax.Array, name: str = "kernel") -> None:
    """Raises ValueError unless the kernel, which has this name, has one position."""
    if any(size != 1 for size in kernel.shape[:-2]):
        raise ValueError(
            f"{function}: `{name}` must have one position, shape (1, ..., 1, in_features, out_features), got "
            f"{kernel.shape}; use `conv` for larger kernels"
        )


def check_pair(depthwise_kernel: jax.Array, pointwise_kernel: jax.Array) -> None:
    """Raises ValueError or TypeError unless the kernels of the two halves fit each other."""
    if depthwise_kernel.ndim != pointwise_kernel.ndim:
        raise ValueError(
            "separable_conv: `depthwise_kernel` and `pointwise_kernel` must have the same rank, got shapes "
            f"{depthwise_kernel.shape} and {pointwise_kernel.shape}"
        )
    if depthwise_kernel.shape[-1:] != pointwise_kernel.shape[-2:-1]:
        raise ValueError(
            "separable_conv: the pointwise kernel's in_features must be the depthwise kernel's out_features, got "
            f"shapes {depthwise_kernel.shape} and {pointwise_kernel.shape}"
        )
    if depthwise_kernel.dtype != pointwise_kernel.dtype:
        raise TypeError(
            "separable_conv: `depthwise_kernel` and `pointwise_kernel` must have the same dtype, got "
            f"{depthwise_kernel.dtype.name} and {pointwise_kernel.dtype.name}; cast one of them with `astype`"
        )


def check_epilogue(
    function: str, prefix: str, epilogue: Epilogue, kernel: jax.Array
) -> tuple[jax.Array | None, jax.Array | None]:
    """Returns scale and bias as arrays, if they and the activation fit the kernel."""
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
            f"{function}: `{name}` must have a value for each output channel, shape {kernel.shape[-1:]}, got "
            f"{values.shape}"
        )
    wide = " or float32" if kernel.dtype.itemsize < 4 else ""
    if values.dtype != kernel.dtype and not (wide and values.dtype == jnp.float32):
        raise TypeError(
            f"{function}: `{name}` must have the kernel's dtype, {kernel.dtype.name}{wide}, got {values.dtype.name}; "
            "cast it with `astype`"
        )
    return values


def check_supported(
    function: str, implementation: Implementation, call: Callable, images: jax.Array, kernel: jax.Array
) -> None:
    """Raises NotImplementedError unless the implementation can compute the convolution."""
    (equation,) = jax.make_jaxpr(call)(images, kernel).eqns
    obstacle = dispatch.IMPLEMENTATIONS[implementation].unsupported(recognise_equation(equation))
    if obstacle:
        raise NotImplementedError(
            f"{function}: {obstacle} (inputs {images.shape}, kernel {kernel.shape}); use implementation=None"
        )
