"""Says which implementation a call would get."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.extend.core import primitives

from jds.ops import dispatch
from jds.ops.conv import conv
from jds.ops.dispatch import Choice, Implementation
from jds.ops.geometry import Padding
from jds.ops.lowering import mechanism_fault
from jds.ops.recognise import recognise_equation

# A GPU's programs are lowered for its maker's platform.
_ALIASES = {"gpu": "cuda"}
_PLATFORMS = ("cpu", "gpu", "cuda", "rocm", "oneapi", "tpu")


class Selection(NamedTuple):
    """The choice for a convolution and for its two gradients.

    Example:
      >>> import jax, jds
      >>> shapes = jax.ShapeDtypeStruct((1, 56, 56, 8), "float32"), jax.ShapeDtypeStruct((3, 3, 1, 8), "float32")
      >>> selection = jds.select_implementation(*shapes, feature_group_count=8, platform="cpu")
      >>> selection.forward.implementation, selection.kernel_gradient.implementation
      ('native', 'native')
    """

    forward: Choice
    input_gradient: Choice
    kernel_gradient: Choice


def select_implementation(
    inputs: jax.Array | jax.ShapeDtypeStruct,
    kernel: jax.Array | jax.ShapeDtypeStruct,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    implementation: Implementation | None = None,
    platform: str | None = None,
) -> Selection:
    """Tells which implementation each equation of a convolution would get, and why.

    Args:
      inputs, kernel: arrays, or shapes and dtypes only; as in `conv`.
      strides, padding, input_dilation, kernel_dilation, feature_group_count: as in `conv`.
      implementation: what would be asked for by name.
      platform: what the program would be lowered for: `"cpu"`, `"gpu"`, `"cuda"`, `"rocm"`, `"oneapi"` or `"tpu"`;
        None for JAX's default backend.

    Returns:
      A choice (`implementation` and `reason`) each for the forward pass, the input gradient and the kernel gradient.

    Raises:
      ValueError: the platform is unknown, or `conv` would raise.
      TypeError, NotImplementedError: `conv` would raise.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> x = jax.ShapeDtypeStruct((1, 56, 56, 128), jnp.float32)
      >>> k = jax.ShapeDtypeStruct((3, 3, 1, 128), jnp.float32)
      >>> jds.select_implementation(x, k, feature_group_count=128, platform="cpu").forward.implementation
      'native'
    """
    platform = lowering_platform("select_implementation", platform)
    call = functools.partial(
        conv,
        strides=strides,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
        implementation=implementation,
    )
    cotangent = jax.eval_shape(call, inputs, kernel)

    def input_gradient(x, k, g):
        return jax.linear_transpose(lambda x: call(x, k), x)(g)

    def kernel_gradient(x, k, g):
        return jax.linear_transpose(lambda k: call(x, k), k)(g)

    return Selection(
        _choice(call, (inputs, kernel), implementation, platform),
        _choice(input_gradient, (inputs, kernel, cotangent), implementation, platform),
        _choice(kernel_gradient, (inputs, kernel, cotangent), implementation, platform),
    )


def lowering_platform(function: str, platform: str | None) -> str:
    """Returns the platform as lowering rules have it, by default that of JAX's default backend."""
    platform = jax.default_backend() if platform is None else platform
    if platform not in _PLATFORMS:
        raise ValueError(f"{function}: `platform` must be one of {', '.join(map(repr, _PLATFORMS))}, got {platform!r}")
    return _ALIASES.get(platform, platform)


def _choice(fun, arguments, implementation: Implementation | None, platform: str) -> Choice:
    fault = mechanism_fault()
    if fault:
        return Choice("xla", fault)
    convolution = primitives.conv_general_dilated_p
    equation = [e for e in jax.make_jaxpr(fun)(*arguments).eqns if e.primitive is convolution][-1]
    return dispatch.choose(recognise_equation(equation), platform, implementation)
