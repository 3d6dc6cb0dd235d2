"""The size of arrays in memory."""

import functools
from typing import Any

import jax
import jax.numpy as jnp


def array_bytes(elements: int, dtype: Any) -> int:
    """Returns the bytes of an array; elements of less than a byte, such as those of int4, are packed, as in XLA.

    Args:
      elements: the number of elements.
      dtype: their dtype; None for tokens, which take no memory.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds.cost._sizes import array_bytes
      >>> array_bytes(5, jnp.dtype("float32")), array_bytes(5, jnp.dtype("int4"))
      (20, 3)
    """
    return -(-elements * _bits(dtype) // 8)


@functools.cache
def _bits(dtype: Any) -> int:
    # Random keys have an extended dtype.
    if dtype is None or jnp.issubdtype(dtype, jax.dtypes.extended):
        return 8 * getattr(dtype, "itemsize", 0)
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.iinfo(dtype).bits
    return jnp.finfo(dtype).bits if jnp.issubdtype(dtype, jnp.floating) else 8 * dtype.itemsize
