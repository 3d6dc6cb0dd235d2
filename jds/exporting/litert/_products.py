"""Products that the converter cannot write are made convolutions."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Var, jaxpr_as_fun

from jds.exporting._layers import Layer, evaluate
from jds.exporting._prepare import Prepared

_RESHAPES = ("reshape", "broadcast_in_dim", "squeeze", "expand_dims")


def writable(prepared: Prepared) -> Callable[..., list[Any]]:
    """Returns a program as a function of its arrays, with each product that the converter cannot write a convolution.

    The converter makes a product of the features of an array with more than three axes a product of matrices between
    two reshapes. If the axis before the features has size 1, it then fails: "'tfl.batch_matmul' op found invalid output
    rank, expected 3 but got 4".
    """
    jaxpr = prepared.jaxpr
    thin = {layer.equation: layer for layer in prepared.layers if _is_thin_product(jaxpr, layer)}
    if not thin:
        return jaxpr_as_fun(jaxpr)

    def step(place: int, call: Callable[..., list[Any]], operands: list[Any]) -> list[Any]:
        if place not in thin:
            return call(*operands)
        return [_convolution(jaxpr.jaxpr.eqns[place], thin[place].weights, operands)]

    return lambda *arrays: evaluate(jaxpr, arrays, step)


def _is_thin_product(jaxpr: ClosedJaxpr, layer: Layer) -> bool:
    equation = jaxpr.jaxpr.eqns[layer.equation]
    if equation.primitive.name != "dot_general":
        return False
    contracting, (batched, _) = equation.params["dimension_numbers"]
    if batched or any(len(axes) > 1 for axes in contracting):
        return False
    source = moving = equation.invars[1 - layer.weights]
    makers = {variable: maker for maker in jaxpr.jaxpr.eqns for variable in maker.outvars}
    while isinstance(source, Var) and source in makers and makers[source].primitive.name in _RESHAPES:
        source = makers[source].invars[0]
    results = {*equation.outvars}
    for user in jaxpr.jaxpr.eqns:
        if user.primitive.name in _RESHAPES and user.invars[0] in results:
            results.update(user.outvars)
    is_flattened = max(len(_shape(moving)), len(_shape(source))) > 3
    return is_flattened and any(len(shape) > 3 and shape[-2] == 1 for shape in map(_shape, results))


def _shape(value: Any) -> tuple[int, ...]:
    return value.aval.shape


def _convolution(equation: JaxprEqn, place: int, operands: Sequence[Any]) -> Any:
    """Computes a product of an array with a matrix of weights as a 1×1 convolution."""
    contracting, _ = equation.params["dimension_numbers"]
    (axis,), (summed,) = contracting[1 - place], contracting[place]
    weights, moving = operands[place], jnp.moveaxis(operands[1 - place], axis, -1)
    kernel = jnp.moveaxis(weights, summed, 0).reshape(weights.shape[summed], -1)
    out = lax.conv_general_dilated(
        moving.reshape(1, -1, 1, moving.shape[-1]),
        kernel[None, None],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=equation.params["precision"],
        preferred_element_type=equation.params["preferred_element_type"],
    )
    free = tuple(size for dim, size in enumerate(weights.shape) if dim != summed)
    if place == 1:
        return out.reshape(*moving.shape[:-1], *free)
    return out.reshape(-1, kernel.shape[1]).T.reshape(*free, *moving.shape[:-1])
