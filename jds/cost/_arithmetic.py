"""The time that operations need at a device's peak rates."""

import collections
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import jax.numpy as jnp
from jax import lax

from jds._common.text import Number
from jds.cost._deployed import DeployedDtype
from jds.cost._program import Operation
from jds.cost.devices import Peak

# For each dtype, the arithmetic that a device computes it in: the first that the device has.
_IN_ORDER: dict[str, tuple[str, ...]] = {
    "float64": ("float64", "float32", "tfloat32", "bfloat16", "float16", "int8"),
    "float32": ("float32", "tfloat32", "bfloat16", "float16", "int8"),
    "tfloat32": ("tfloat32", "float32", "bfloat16", "float16", "int8"),
    "bfloat16": ("bfloat16", "float32", "tfloat32", "float16", "int8"),
    "float16": ("float16", "float32", "tfloat32", "bfloat16", "int8"),
}
_BITS = {"float64": 64, "float32": 32, "tfloat32": 32, "bfloat16": 16, "float16": 16, "int8": 8}


def least_seconds(work: Mapping[str, Number], peak: Peak) -> float:
    """Returns the least time that one device needs for operations in its arithmetics, as from `work_by_arithmetic`.

    The units for different arithmetics may run at the same time, so that it is the longest time in one of them, not
    their sum.
    """
    return max((count / peak.rates[name] for name, count in work.items()), default=0.0)


def work_by_arithmetic(
    operations: Iterable[Operation], peak: Peak, dtype: str | None = None
) -> collections.Counter[str]:
    """Returns the number of operations in each arithmetic of a device.

    Args:
      operations: the operations.
      peak: the device.
      dtype: what floating-point numbers are on the device, if not what they are in the program.
    """
    found: collections.Counter[str] = collections.Counter()
    for operation in operations:
        if operation.cost is None:
            continue
        counts = operation.cost.counts
        is_complex = any(getattr(aval.dtype, "kind", "") == "c" for aval in _arrays(operation))
        of_products = (8 if is_complex else 2) * counts.macs
        rest = max(0, counts.flops - of_products)
        for count, is_product in ((of_products, True), (rest, False)):
            if count:
                own = _dtype_of(operation, dtype, of_factors=is_product)
                rounded = _rounded_to(operation, own) if is_product else None
                name = arithmetic_of(peak, rounded or own, may_be_rounded=is_product and _may_be_rounded(operation))
                found[name] += count * operation.times
    return found


def arithmetic_of(peak: Peak, dtype: str, *, may_be_rounded: bool = False) -> str:
    """Returns the arithmetic that a device computes in, given numbers of a dtype.

    Args:
      peak: the device.
      dtype: name of the numbers' dtype.
      may_be_rounded: whether products of float32 may be computed in TensorFloat-32, as by JAX's default precision.
    """
    if dtype not in _IN_ORDER:  # integers of eight bits, or others, of which the bound assumes the best
        return "int8" if "int8" in peak.rates else max(peak.rates, key=lambda name: peak.rates[name])
    order = _IN_ORDER[dtype]
    found = next(name for name in order if name in peak.rates)
    if may_be_rounded and found == "float32" and peak.rates.get("tfloat32", 0) > peak.rates["float32"]:
        return "tfloat32"
    return found


def narrower_dtype(peak: Peak, dtypes: Iterable[str]) -> DeployedDtype | None:
    """Returns the dtype that a device without these floating-point dtypes computes them in; None if it has them."""
    for dtype in dtypes:
        if dtype in _IN_ORDER:
            found = arithmetic_of(peak, dtype)
            if _BITS[found] < _BITS[dtype]:
                return next(deployed for deployed in get_args(DeployedDtype) if deployed == found)
    return None


def _arrays(operation: Operation) -> list[Any]:
    equation = operation.equation
    return [aval for aval in (*equation.inputs, *equation.outputs) if hasattr(aval, "dtype")]


def _dtype_of(operation: Operation, dtype: str | None, *, of_factors: bool) -> str:
    """Returns the name of the dtype that an operation computes in: that of its first floating-point array, if any.

    Products of eight bits may have sums and scales in others; with `of_factors`, the dtype is that of the factors.
    """
    names = [aval.dtype.name for aval in _arrays(operation)]
    if of_factors and names and names[0].startswith(_EIGHT_BITS):
        return names[0]
    real = [_REAL_PART.get(name, name) for name in names]
    floating = [name for name in real if name in _IN_ORDER]
    if floating:
        return dtype or floating[0]
    return names[0] if names else "float32"


_EIGHT_BITS = ("int8", "uint8", "float8")  # how the names of these dtypes begin
_REAL_PART = {"complex64": "float32", "complex128": "float64"}


def _may_be_rounded(operation: Operation) -> bool:
    precision = operation.equation.params.get("precision")
    both = precision if isinstance(precision, tuple) else (precision,)
    is_chosen = isinstance(precision, lax.DotAlgorithm | lax.DotAlgorithmPreset) and precision != _DEFAULT
    return lax.Precision.HIGHEST not in both and not is_chosen


_DEFAULT = lax.DotAlgorithmPreset.DEFAULT


def _rounded_to(operation: Operation, dtype: str) -> str | None:
    """Returns the dtype in which a product is computed, if the program asks for another one than that of its factors.

    An algorithm of several products counts as one of them.
    """
    precision = operation.equation.params.get("precision")
    if isinstance(precision, lax.DotAlgorithm):
        return jnp.dtype(precision.lhs_precision_type).name
    if not isinstance(precision, lax.DotAlgorithmPreset):
        return None
    name = precision.name.split("_")[0]
    return _FACTORS.get(name, "int8" if name == "ANY" else dtype)  # eight bits, as in float8


# The dtypes of the factors, by the first part of an algorithm's name.
_FACTORS = {"F64": "float64", "F32": "float32", "TF32": "tfloat32", "BF16": "bfloat16", "F16": "float16"}
