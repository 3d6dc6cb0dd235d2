"""Functions that Core ML has as one operation.

They are handed to the converter whole, as composites of StableHLO, which name the function and hold what it is made of.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jds.exporting.coreml._packages import packages


class Operation(NamedTuple):
    """A function in JAX and in Core ML; both have the same parameters."""

    fun: Callable[..., Any]
    write: Callable[..., Any]


def call(name: str, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """Calls the function in JAX such that the converter writes the operation."""
    return lax.composite(OPERATIONS[name].fun, _PREFIX + name)(*operands, **params)


def _clip(x: jax.Array, /, *, low: float, high: float) -> jax.Array:
    return jnp.minimum(jnp.maximum(x, low), high)


def _write_clip(x: Any, *, low: float, high: float) -> Any:
    mil = packages().mil
    if low == 0 and high in (6, np.inf):
        return mil.relu6(x=x) if high == 6 else mil.relu(x=x)
    if low == -np.inf:
        return mil.minimum(x=x, y=np.float32(high))
    return mil.maximum(x=x, y=np.float32(low)) if high == np.inf else mil.clip(x=x, alpha=low, beta=high)


def _gelu(x: jax.Array, /, *, approximate: str) -> jax.Array:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def _write_gelu(x: Any, *, approximate: str) -> Any:
    return packages().mil.gelu(x=x, mode="TANH_APPROXIMATION" if approximate == "tanh" else "EXACT")


def _write_hard_sigmoid(x: Any) -> Any:
    return packages().mil.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5)


def _write_log_softmax(x: Any, *, axis: int) -> Any:
    return packages().mil.sub(x=x, y=packages().mil.reduce_log_sum_exp(x=x, axes=[axis], keep_dims=True))


def _layer_norm(x: jax.Array, *rest: jax.Array, axis: int, epsilon: float, has_scale: bool, has_bias: bool):
    values = list(rest)
    shape = [-1 if place == axis else 1 for place in range(x.ndim)]
    mean, variance = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    y = (x - mean) * lax.rsqrt(variance + np.asarray(epsilon, x.dtype))
    y = y * values.pop(0).reshape(shape) if has_scale else y
    return y + values.pop(0).reshape(shape) if has_bias else y


def _write_layer_norm(x: Any, *rest: Any, axis: int, epsilon: float, has_scale: bool, has_bias: bool) -> Any:
    values = list(rest)
    gamma, beta = (values.pop(0) if has else None for has in (has_scale, has_bias))
    return packages().mil.layer_norm(x=x, axes=[axis], gamma=gamma, beta=beta, epsilon=epsilon)


def _pool(x: jax.Array, /, *, sizes: np.ndarray, strides: np.ndarray, pads: np.ndarray, is_max: bool) -> jax.Array:
    window, steps = (1, 1, *map(int, sizes)), (1, 1, *map(int, strides))
    sides = [(0, 0), (0, 0), *((int(low), int(high)) for low, high in pads.reshape(-1, 2))]
    return lax.reduce_window(x, -np.inf if is_max else 0.0, lax.max if is_max else lax.add, window, steps, sides)


def _write_pool(x: Any, *, sizes: np.ndarray, strides: np.ndarray, pads: np.ndarray, is_max: bool) -> Any:
    sizes, strides, pads = (values.astype(np.int32) for values in (sizes, strides, pads))
    options = {"x": x, "kernel_sizes": sizes, "strides": strides, "pad_type": "custom", "pad": pads}
    if is_max:
        return packages().mil.max_pool(**options)
    mean = packages().mil.avg_pool(**options, exclude_padding_from_average=False)
    return packages().mil.mul(x=mean, y=np.float32(sizes.prod()))


def _reduction(fun: Callable[..., Any], kind: str) -> Operation:
    def compute(x: jax.Array, /, *, axes: np.ndarray, keepdims: bool) -> jax.Array:
        return fun(x, tuple(map(int, axes)), keepdims=keepdims)

    def write(x: Any, *, axes: np.ndarray, keepdims: bool) -> Any:
        return getattr(packages().mil, kind)(x=x, axes=axes.astype(np.int32), keep_dims=keepdims)

    return Operation(compute, write)


def _write_split(x: Any, *, sizes: np.ndarray, axis: int) -> Any:
    return packages().mil.split(x=x, split_sizes=sizes.astype(np.int32), axis=axis)


OPERATIONS = {
    "clip": Operation(_clip, _write_clip),
    "gelu": Operation(_gelu, _write_gelu),
    "hard_sigmoid": Operation(jax.nn.hard_sigmoid, _write_hard_sigmoid),
    "hard_silu": Operation(jax.nn.hard_silu, lambda x: packages().mil.mul(x=x, y=_write_hard_sigmoid(x))),
    "layer_norm": Operation(_layer_norm, _write_layer_norm),
    "log_softmax": Operation(jax.nn.log_softmax, _write_log_softmax),
    "logistic": Operation(lax.logistic, lambda x: packages().mil.sigmoid(x=x)),
    "pool": Operation(_pool, _write_pool),
    "reduce_max": _reduction(jnp.max, "reduce_max"),
    "reduce_mean": _reduction(jnp.mean, "reduce_mean"),
    "reduce_min": _reduction(jnp.min, "reduce_min"),
    "reduce_sum": _reduction(jnp.sum, "reduce_sum"),
    "softmax": Operation(jax.nn.softmax, lambda x, *, axis: packages().mil.softmax(x=x, axis=axis)),
    "softplus": Operation(jax.nn.softplus, lambda x: packages().mil.softplus(x=x)),
    "split": Operation(lambda x, /, *, sizes, axis: lax.split(x, tuple(map(int, sizes)), axis), _write_split),
}
_PREFIX = "jds."


def _handler(operation: Operation) -> Callable[..., None]:
    """Returns the function with which the converter translates a composite."""

    def handle(converter: Any, context: Any, op: Any) -> None:
        attributes = op.composite_attributes
        params = {item.name: _value(item.attr) for item in attributes}
        results = operation.write(*(context[value.get_name()] for value in op.inputs), **params)
        results = results if isinstance(results, list | tuple) else [results]
        for value, result in zip(op.results, results, strict=True):
            context.add_result(value, result)

    return handle


def _value(attribute: Any) -> Any:
    return attribute.value if hasattr(attribute, "value") else np.array(attribute)


@functools.cache
def register() -> None:
    """Lets the converter write the operations; it has no public way to add composites."""
    handlers = {_PREFIX + name: _handler(operation) for name, operation in OPERATIONS.items()}
    packages().converter._composite_ops_registry.update(handlers)
