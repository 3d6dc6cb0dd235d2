"""jds's implementations for programs that were written without jds."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

import jax

from jds.ops._lowering import check_mechanism, installed, mark

P = ParamSpec("P")
R = TypeVar("R")

# Holds the function itself: `functools.wraps` copies attributes to functions that are no longer the same.
_SELF = "_jds_accelerated"
# What traces of a jitted function's attributes.
_AHEAD_OF_TIME = ("lower", "trace", "eval_shape")


@overload
def accelerate(fun: jax.stages.Wrapped) -> jax.stages.Wrapped: ...
@overload
def accelerate(fun: Callable[P, R]) -> Callable[P, R]: ...
def accelerate(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `fun` run its depthwise and pointwise convolutions by jds's implementations.

    For functions and modules that were written without jds. Each `lax.conv_general_dilated` that `fun` calls, in
    whatever library and layout, is replaced when the program is lowered, if it is of a form that XLA runs badly on
    that platform; so are the convolutions of its derivatives. `jds.acceleration_report` lists them.

    Values agree up to rounding: a result that sums `n` products differs from XLA's by at most `2 * n` roundings
    (`2**-24` in float32, `2**-53` in float64) of the sum of their magnitudes, in practice by 1e-7 to 1e-5 of the
    largest value in float32. A 16-bit result is summed in float32 and may differ in its last bit besides. What follows
    can enlarge the difference, as batch norm does in training on a few small images.

    Padding times an infinite or NaN weight is NaN in some of XLA's convolutions and nothing in others; the CPU kernels
    leave padding out.

    All else is left alone: grouped convolutions but for their kernel gradients, ordinary ones (but those of images, of
    at most three features, which run faster on the CPU by jds), what XLA runs as fast, integers, symbolic shapes,
    convolutions with `implementation="xla"`, and what `fun` does not trace itself: work in threads of its own,
    callbacks to the host, executables and exported programs. An operation traced under `accelerate` bears the attribute
    `jds="auto"` in the program's text, which XLA ignores.

    Args:
      fun: any function, method or callable object; a Flax module too. Whether it is jitted, and where, does not
        matter; a jitted one keeps `lower`, `trace` and `eval_shape`.

    Returns:
      A function with the same arguments and results.

    Raises:
      TypeError: `fun` cannot be called, or returns before its body runs.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> layer = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=nnx.Rngs(0))
      >>> jds.accelerate(layer)(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 8)
    """
    if not callable(fun) or isinstance(fun, type):
        raise TypeError(
            "accelerate: `fun` must be callable, and no class but its instance; of a pair such as `init` and `apply` "
            f"accelerate the one that is applied; got {fun!r}"
        )
    if any(is_kind(fun) for is_kind in _RETURN_EARLY):
        raise TypeError(
            f"accelerate: `fun` must not be a generator or coroutine function, whose body runs after the call; "
            f"accelerate the functions that it calls; got {fun!r}"
        )
    check_mechanism()
    if is_accelerated(fun):
        return fun
    if inspect.ismethod(fun):  # stays one: transformations look for the object that it is bound to
        return types.MethodType(accelerate(fun.__func__), fun.__self__)

    accelerated = _AcceleratedJit(fun) if callable(getattr(fun, "lower", None)) else _marked(fun)
    setattr(accelerated, _SELF, accelerated)
    return accelerated


_RETURN_EARLY = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


def is_accelerated(fun: Callable) -> bool:
    """Whether `accelerate` made this function; it then has the one that it wraps as `__wrapped__`."""
    return getattr(fun, _SELF, None) is (fun.__func__ if inspect.ismethod(fun) else fun)


def _marked(fun: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(fun, updated=())
    def marked(*args: P.args, **kwargs: P.kwargs) -> R:
        with mark():
            return fun(*args, **kwargs)

    return marked


class _AcceleratedJit:
    """An accelerated jitted function, which can be lowered too.

    Not a function with `lower` for an attribute: JAX's transformations copy a function's attributes to what they make
    of it, whose own `lower` it would hide.
    """

    def __init__(self, fun: Callable):
        functools.update_wrapper(self, fun, updated=())

    def __call__(self, *args, **kwargs):
        with mark():
            return self.__wrapped__(*args, **kwargs)

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str):
        if name == "__wrapped__":  # not there yet, in a copy
            raise AttributeError(name)
        attribute = getattr(self.__wrapped__, name)
        return _marked(attribute) if name in _AHEAD_OF_TIME else attribute


def install() -> None:
    """Accelerates every program of this process, in all threads, as if it were wrapped in `jds.accelerate`.

    For frameworks that give no function to wrap, such as Keras on its JAX backend: `model.fit` and `model.predict` are
    accelerated too. Functions that were jitted before are traced again at their next call. Executables that were
    compiled ahead of time (`jit(f).lower(...).compile()`) and exported programs (`jax.export`) stay as they are.

    Example:
      >>> import jds
      >>> jds.install()
      >>> jds.uninstall()
    """
    check_mechanism()
    installed.set_global(True)


def uninstall() -> None:
    """Takes back `jds.install()`: functions are traced again at their next call, or found as they were compiled before.

    Example:
      >>> import jds
      >>> jds.uninstall()
    """
    installed.set_global(False)
