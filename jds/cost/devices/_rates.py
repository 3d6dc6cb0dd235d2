"""Measures the highest rates that XLA's programs reach on this machine."""

import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jds.cost._timing import Spread, spread

# For each arithmetic, the dtype in which its products are summed.
_SUMS = {"float32": "float32", "bfloat16": "float32", "float16": "float32", "int8": "int32"}


def arithmetic_rates() -> Mapping[str, Spread]:
    """Returns the operations per second in each arithmetic that XLA has matrix products for, float32 first.

    Those for smaller numbers are not below that of float32, in which they can be computed, too.
    """
    found = {"float32": _fastest([*_product_rates("float32"), _chain_rate()])}
    for dtype in [name for name in _SUMS if name != "float32"]:
        try:
            found[dtype] = _fastest([*_product_rates(dtype), found["float32"]])
        except jax.errors.JaxRuntimeError:
            continue  # XLA has no such product on this device
    return found


def _fastest(rates: list[Spread]) -> Spread:
    return max(rates, key=lambda rate: rate.high)


def _product_rates(dtype: str) -> list[Spread]:
    multiply = jax.jit(lambda matrix: jax.lax.dot(matrix, matrix, preferred_element_type=_SUMS[dtype]))

    def rate(size: int) -> Spread:
        matrix = jnp.ones((size, size), dtype)
        return _rate(2 * size**3, lambda: multiply(matrix).block_until_ready())

    return [rate(size) for size in (512, 1024, 2048)]


def _chain_rate(size: int = 2**18, chains: int = 8, steps: int = 64) -> Spread:
    """Returns the rate of independent chains of multiply-adds in registers."""

    @jax.jit
    def run(x: jax.Array) -> jax.Array:
        values = [x + i for i in range(chains)]
        for _ in range(steps):
            values = [value * x + 0.001 for value in values]
        return sum(values, x)

    numbers = jnp.full(size, 0.5)
    return _rate(2 * size * chains * steps, lambda: run(numbers).block_until_ready())


def memory_rate() -> Spread:
    """Returns the bytes per second that are read and written, or only read."""
    return _fastest([_sum_rate(), _read_rate()])


def _read_rate(size: int = 2**26) -> Spread:
    largest = jax.jit(lambda x: jnp.max(x.reshape(-1, 4096), axis=1))
    numbers = jnp.zeros(size)
    return _rate(4 * size, lambda: largest(numbers).block_until_ready())


def _sum_rate(size: int = 2**26) -> Spread:
    # In place, because page faults on a new array would cost more than the sum.
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    held = [jnp.zeros(size)]

    def run():
        held[0] = add(held[0]).block_until_ready()

    return _rate(2 * 4 * size, run)


def _rate(count: int, run: Callable[[], object], seconds: float = 0.3) -> Spread:
    """Returns how often per second something is done that a call does `count` times: quartile, median and highest."""
    run()
    samples: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(samples) < 3:
        begin = time.perf_counter()
        run()
        samples.append(count / (time.perf_counter() - begin))
    return spread(samples)._replace(high=max(samples))
