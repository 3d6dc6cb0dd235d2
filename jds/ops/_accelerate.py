"""Runs jds's implementations in programs that do not call jds."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

import jax

from jds.ops._lowering import check_mechanism, installed, mark

P = ParamSpec("P")
R = TypeVar("R")

# Holds the function itself, because `functools.wraps` copies attributes to other functions.
_SELF = "_jds_accelerated"
# Attributes of a jitted function that trace it.
_AHEAD_OF_TIME = ("lower", "trace", "eval_shape")


@overload
def accelerate(fun: jax.stages.Wrapped) -> jax.stages.Wrapped: ...
@overload
def accelerate(fun: Callable[P, R]) -> Callable[P, R]: ...
def accelerate(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `fun` with its depthwise and pointwise convolutions run by jds.

    For functions and modules that do not call jds. When the program is lowered, each `lax.conv_general_dilated` that
    `fun` calls, from any library and in any layout, is replaced if XLA runs it slowly on that platform. So are the
    convolutions of its derivatives. `jds.acceleration_report` lists them.

    Values agree up to rounding: a result that sums `n` products differs from XLA's by at most `2 * n` roundings
    (`2**-24` in float32, `2**-53` in float64) times the sum of their magnitudes; in practice, float32 results differ by
    1e-7 to 1e-5 of the largest value. A 16-bit result is summed in float32 and may also differ in its last bit. Later
    operations can amplify the difference, as batch norm does when training on a few small images.

    Zero padding times an infinite or NaN weight is NaN in some of XLA's convolutions and ignored in others; the CPU
    kernels ignore padding.

    The following are left to XLA: grouped convolutions, and ordinary ones with windows of more than 1024 elements,
    except their kernel gradients; convolutions that XLA runs just as fast; integer convolutions; symbolic shapes;
    convolutions with `implementation="xla"`; and anything that `fun` does not trace itself, such as its threads, host
    callbacks, compiled executables and exported programs. Operations traced under `accelerate` carry the attribute
    `jds="auto"` in the program's text, which XLA ignores.

    Args:
      fun: a function, method or callable object, such as a Flax module, jitted or not. If it is jitted, the result also
        has the methods `lower`, `trace` and `eval_shape`.

    Returns:
      A function with the same arguments and results.

    Raises:
      TypeError: `fun` is not callable, or returns before its body runs.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> layer = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=nnx.Rngs(0))
      >>> jds.accelerate(layer)(jnp.ones((1, 16, 16, 8))).shape
      (1, 16, 16, 8)
    """
    if not callable(fun) or isinstance(fun, type):
        raise TypeError(
            "accelerate: `fun` must be callable and not a class (pass an instance; of an `init`/`apply` pair, pass "
            f"`apply`), got {fun!r}"
        )
    if any(is_kind(fun) for is_kind in _RETURN_EARLY):
        raise TypeError(
            "accelerate: `fun` must not be a generator or coroutine function, whose body runs after the call "
            f"(accelerate the functions that it calls), got {fun!r}"
        )
    check_mechanism()
    if is_accelerated(fun):
        return fun
    if inspect.ismethod(fun):  # keep it a bound method: transformations look for the object that it is bound to
        return types.MethodType(accelerate(fun.__func__), fun.__self__)

    accelerated = _AcceleratedJit(fun) if callable(getattr(fun, "lower", None)) else _marked(fun)
    setattr(accelerated, _SELF, accelerated)
    return accelerated


_RETURN_EARLY = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


def is_accelerated(fun: Callable) -> bool:
    """Whether `accelerate` made this function; its `__wrapped__` is then the original."""
    return getattr(fun, _SELF, None) is (fun.__func__ if inspect.ismethod(fun) else fun)


def _marked(fun: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(fun, updated=())
    def marked(*args: P.args, **kwargs: P.kwargs) -> R:
        with mark():
            return fun(*args, **kwargs)

    return marked


class _AcceleratedJit:
    """An accelerated jitted function, which can also be lowered.

    A plain function with an attribute `lower` would not do: JAX's transformations copy a function's attributes to their
    result, which would hide the `lower` of that result.
    """

    def __init__(self, fun: Callable):
        functools.update_wrapper(self, fun, updated=())

    def __call__(self, *args, **kwargs):
        with mark():
            return self.__wrapped__(*args, **kwargs)

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str):
        if name == "__wrapped__":  # not set yet while the object is being copied
            raise AttributeError(name)
        attribute = getattr(self.__wrapped__, name)
        return _marked(attribute) if name in _AHEAD_OF_TIME else attribute


def install() -> None:
    """Accelerates every program of this process, in all threads, as if wrapped in `jds.accelerate`.

    For frameworks that expose no function to wrap, such as Keras on its JAX backend: `model.fit` and `model.predict`
    are accelerated as well. Functions that are already jitted are retraced at their next call. Executables compiled
    ahead of time (`jit(f).lower(...).compile()`) and exported programs (`jax.export`) do not change.

    Example:
      >>> import jds
      >>> jds.install()
      >>> jds.uninstall()
    """
    check_mechanism()
    installed.set_global(True)


def uninstall() -> None:
    """Undoes `jds.install()`. From their next call, functions use the code compiled before `install`, or are retraced.

    Example:
      >>> import jds
      >>> jds.uninstall()
    """
    installed.set_global(False)
