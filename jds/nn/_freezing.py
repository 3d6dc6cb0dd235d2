"""Makes a model that is ready to run: folded, compiled, with its weights as constants."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jds.nn._reparameterization import reparameterize


def freeze(model: nnx.Module | Callable[..., Any]) -> Callable[..., Any]:
    """Returns a model as a compiled function for inference, with its weights as constants.

    It runs a copy of the model: in evaluation mode, with batch normalizations folded and MobileOne's branches merged;
    see `fold_batch_norm` and `reparameterize`. Later changes of the model do not change it.

    It is also the fastest way to call a small network: `nnx.jit` takes the module apart and puts it together again on
    each call, which takes milliseconds.

    Args:
      model: any module, or a method of one, such as `model.features`.

    Returns:
      A function with the arguments of the model, jitted by `jax.jit`. Like all such functions, it compiles once for
      each shape and dtype of its arguments. `jds.cost`, `jds.export` and `jax.vmap` take it like any other function.

    Raises:
      TypeError: the model is neither an `nnx.Module` nor a method of one.
      ValueError: as in `reparameterize`.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> block = jds.nn.SeparableConv(8, 16, (3, 3), depthwise_norm=nnx.BatchNorm, use_bias=False, rngs=nnx.Rngs(0))
      >>> run = jds.freeze(block)
      >>> run(jnp.ones((1, 8, 8, 8))).shape
      (1, 8, 8, 16)
    """
    module, name = (model.__self__, model.__name__) if inspect.ismethod(model) else (model, "__call__")
    if not isinstance(module, nnx.Module):
        raise TypeError(f"freeze: `model` must be an nnx.Module or a method of one, got {model!r}")
    copied = nnx.clone(module)
    copied.eval()
    call = getattr(reparameterize(copied), name)

    def frozen(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    frozen.__name__ = frozen.__qualname__ = type(module).__name__ if name == "__call__" else name
    return jax.jit(frozen)
