"""Reports which implementation a call gets, using the same function as the lowering rule."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import JaxprEqn, primitives

from jds.ops import _lowering
from jds.ops._conv import conv
from jds.ops._dispatch import Implementation, ImplementationChoice, Target, choose
from jds.ops._fused_block import Activation, FusedForm
from jds.ops._geometry import Padding
from jds.ops._recognize import Form, recognize_equation, with_typical_batch

# Programs for a GPU are lowered for the vendor's platform.
_ALIASES = {"gpu": "cuda"}
_PLATFORMS = ("cpu", "gpu", "cuda", "rocm", "oneapi", "tpu")


class ImplementationSelection(NamedTuple):
    """The choices for a convolution with its epilogue, and for its two gradients.

    Example:
      >>> import jax, jds
      >>> shapes = jax.ShapeDtypeStruct((1, 56, 56, 8), "float32"), jax.ShapeDtypeStruct((3, 3, 1, 8), "float32")
      >>> selection = jds.select_implementation(*shapes, feature_group_count=8, platform="cpu")
      >>> selection.forward.implementation, selection.kernel_gradient.implementation
      ('native', 'native')
    """

    forward: ImplementationChoice
    input_gradient: ImplementationChoice
    kernel_gradient: ImplementationChoice


def select_implementation(
    inputs: jax.Array | jax.ShapeDtypeStruct,
    kernel: jax.Array | jax.ShapeDtypeStruct,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    scale: jax.Array | jax.ShapeDtypeStruct | None = None,
    bias: jax.Array | jax.ShapeDtypeStruct | None = None,
    activation: Activation | None = None,
    skip: jax.Array | jax.ShapeDtypeStruct | None = None,
    implementation: Implementation | None = None,
    platform: str | None = None,
) -> ImplementationSelection:
    """Returns the implementation that `conv` would use in each pass, and why.

    Args:
      inputs, kernel: as in `conv`; arrays, or only their shapes and dtypes.
      strides, padding, input_dilation, kernel_dilation, feature_group_count: as in `conv`.
      scale, bias, activation, skip: the epilogue, as in `conv`; arrays, or only their shapes and dtypes.
      implementation: as in `conv`.
      platform: the platform to lower for: `"cpu"`, `"gpu"`, `"cuda"`, `"rocm"`, `"oneapi"` or `"tpu"`; None for JAX's
        default backend.

    Returns:
      A choice, with `implementation` and `reason`, for each of the forward pass, the input gradient and the kernel
      gradient. If the epilogue is not fused with the forward pass, the reason says why.

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
    target = Target(lowering_platform("select_implementation", platform))
    call = functools.partial(
        conv,
        strides=strides,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
        implementation=implementation,
    )

    def forward(x, k, scale, bias, skip):
        return call(x, k, scale=scale, bias=bias, activation=activation, skip=skip)

    def input_gradient(x, k, g):
        return jax.linear_transpose(lambda x: call(x, k), x)(g)

    def kernel_gradient(x, k, g):
        return jax.linear_transpose(lambda k: call(x, k), k)(g)

    cotangent = jax.eval_shape(call, inputs, kernel)
    return ImplementationSelection(
        _choice(forward, (inputs, kernel, scale, bias, skip), target),
        _choice(input_gradient, (inputs, kernel, cotangent), target),
        _choice(kernel_gradient, (inputs, kernel, cotangent), target),
    )


def lowering_platform(function: str, platform: str | None) -> str:
    """Returns the platform's name in lowering rules; None means JAX's default backend."""
    platform = jax.default_backend() if platform is None else platform
    if platform not in _PLATFORMS:
        raise ValueError(f"{function}: `platform` must be one of {', '.join(map(repr, _PLATFORMS))}, got {platform!r}")
    return _ALIASES.get(platform, platform)


class Chosen(NamedTuple):
    """A convolution or a fused layer, and the implementation that runs it.

    Attributes:
      equation: its equation in the jaxpr.
      operation: the form of the equation; None if shapes are symbolic.
      choice: the implementation, and why it was chosen.
    """

    equation: JaxprEqn
    operation: Form | FusedForm | None
    choice: ImplementationChoice


def chosen(equation: JaxprEqn, target: Target) -> Iterator[Chosen]:
    """Yields the choices that lowering makes for a jaxpr equation.

    Yields nothing for an equation that is neither a convolution nor a fused layer, and one choice per convolution for a
    block that is not fused on this target.
    """
    is_block = "block" in equation.params
    if not is_block and equation.primitive is not primitives.conv_general_dilated_p:
        return
    arrays: Any = [variable.aval for variable in (*equation.invars, *equation.outvars)]
    is_static = _lowering.is_static(*arrays)
    if not is_static:
        target = target._replace(for_export=True)  # which is what symbolic shapes are for
    if not is_static and (is_block or with_typical_batch(*arrays, params=equation.params) is None):
        symbolic = "symbolic shapes are left to XLA"
        yield from (
            _unfused(equation, None, target, symbolic)
            if is_block
            else [Chosen(equation, None, ImplementationChoice("xla", symbolic))]
        )
        return
    operation = recognize_equation(equation)
    asked = _lowering.asked(equation)
    fault = None if is_block else _lowering.mechanism_fault()
    if fault or asked is None:
        yield Chosen(equation, operation, ImplementationChoice("xla", fault or "not under `accelerate`"))
        return
    choice = choose(operation, target, _lowering.named(asked))
    if isinstance(choice, ImplementationChoice):
        yield Chosen(equation, operation, choice)
    else:
        yield from _unfused(equation, operation, target, choice.reason)


def _unfused(equation: JaxprEqn, operation: Form | FusedForm | None, target: Target, reason: str) -> Iterator[Chosen]:
    steps = [step for inner in equation.params["jaxpr"].eqns for step in chosen(inner, target)]
    for step in steps:
        choice = step.choice._replace(reason=f"{step.choice.reason} (epilogue not fused: {reason})")
        yield step._replace(choice=choice)
    if not steps:
        yield Chosen(equation, operation, ImplementationChoice("xla", reason))


def _choice(fun, arguments, target: Target) -> ImplementationChoice:
    equations = jax.make_jaxpr(fun)(*arguments).eqns
    return [found.choice for equation in equations for found in chosen(equation, target)][-1]
