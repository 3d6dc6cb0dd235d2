"""XLA's own count of floating-point operations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class XlaFlops(NamedTuple):
    """XLA's counts for one call; None where XLA does not know.

    Attributes:
      lowered: of the program as JAX hands it to XLA.
      compiled: of the program as XLA runs it.
    """

    lowered: float | None
    compiled: float | None


def xla_flops(fun: Callable[..., Any], *args: Any) -> XlaFlops:
    """Asks XLA for the floating-point operations of a function, before and after compilation.

    It is `jax.jit(fun).lower(*args).cost_analysis()["flops"]`, and the same of `.compile()`, where XLA can tell. XLA
    counts a multiplication and an addition as two, leaves out those with padding, and counts the body of a loop once.
    To a custom call, such as a vendor's kernel, it gives no count: a program that has one is unknown.

    Args:
      fun: a function of arrays; jitted or not.
      *args: its arguments, arrays or `jax.ShapeDtypeStruct`.

    Returns:
      The two counts, in FLOPs.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds import cost
      >>> cost.xla_flops(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4))).lowered  # 2 * 8 * 16 * 4
      1024.0
    """
    lowered = jit(fun).lower(*args)
    compiled = lowered.compile()
    return XlaFlops(
        None if "custom_call" in lowered.as_text() else _flops(lowered.cost_analysis()),
        None if "custom-call" in (compiled.as_text() or "") else _flops(compiled.cost_analysis()),
    )


def jit(fun: Callable[..., Any]) -> jax.stages.Wrapped:
    """Jits a function unless it is jitted, so that one who jits it once has it compiled once."""
    return fun if isinstance(fun, jax.stages.Wrapped) else jax.jit(fun)


def _flops(properties: Any) -> float | None:
    """Reads the count from what XLA returns: a dictionary, or None; -1 is XLA's own word for unknown."""
    count = (properties or {}).get("flops", -1)
    return None if count < 0 else float(count)
