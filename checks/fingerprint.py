"""What a network computes, as a hash: the result of a check is valid for a network with the same hash.

The hash does not depend on the version of JAX, nor on what is fused.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

import jds
from jds.zoo import Variant

# Even and odd: where the size is odd, `"SAME"` pads as PyTorch does.
IMAGES = jax.ShapeDtypeStruct((2, 96, 97, 3), jnp.float32)
# The parameters of equations that are part of the computation. Others differ between versions of JAX.
PARAMETERS = (
    "window_strides", "padding", "lhs_dilation", "rhs_dilation", "feature_group_count", "batch_group_count",
    "dimension_numbers", "window_dimensions", "base_dilation", "window_dilation", "axes", "dimensions",
    "broadcast_dimensions", "dimension", "permutation", "start_indices", "limit_indices", "strides", "slice_sizes", "y",
)  # fmt: skip


def fingerprint(name: str, **overrides: Any) -> str:
    """Hashes a network's equations, in evaluation and in training, and its parameters' names, shapes and dtypes."""
    digest = hashlib.sha256()
    model = nnx.eval_shape(lambda: jds.create_model(name, **overrides))
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        digest.update(f"{'/'.join(map(str, path))} {leaf.shape} {leaf.dtype}\n".encode())
    for prepare in (model.eval, model.train):
        prepare()
        graph, state = nnx.split(model)

        def call(state: Any, images: jax.Array, graph: Any = graph) -> Any:
            model = nnx.merge(graph, state)
            return model(images), jax.tree.leaves(nnx.state(model, nnx.BatchStat))

        for line in lines(jax.make_jaxpr(call)(state, IMAGES)):
            digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:16]


def row_fingerprint(variant: Variant) -> str:
    """Hashes the row of a network in the zoo: its class, config, preprocessing and source. Takes no time."""
    return hashlib.sha256(_word(variant).encode()).hexdigest()[:16]


def _word(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = tuple((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        return f"({', '.join(map(_word, value))})"
    return getattr(value, "__name__", str(value))


def lines(program: ClosedJaxpr) -> list[str]:
    """Lists the equations of a program and of all that it calls; their results are numbered by their lines."""
    written: list[str] = []
    results = _write(program, [f"argument {i}" for i in range(len(program.jaxpr.invars))], written)
    return [*written, f"return {', '.join(results)}"]


def _write(program: ClosedJaxpr | Jaxpr, arguments: Sequence[str], written: list[str]) -> list[str]:
    """Writes the equations of a program; returns the names of its results."""
    jaxpr, constants = (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())
    names = dict(zip(jaxpr.constvars, map(_constant, constants), strict=True))
    names |= dict(zip(jaxpr.invars, arguments, strict=True))

    def name(atom: Any) -> str:
        return _constant(atom.val) if isinstance(atom, Literal) else names[atom]

    for equation in jaxpr.eqns:
        operands, bodies = [name(atom) for atom in equation.invars], list(_programs(equation.params))
        if len(bodies) == 1 and _is_call(equation, bodies[0]):
            names.update(zip(equation.outvars, _write(bodies[0], operands, written), strict=True))
            continue
        parameters = [f"{key}={equation.params[key]}" for key in PARAMETERS if key in equation.params]
        types = ", ".join(map(_type, equation.outvars))
        written.append(f"{types} = {equation.primitive.name}({', '.join(operands)}) {' '.join(parameters)}")
        names |= {var: f"{len(written)}.{i}" for i, var in enumerate(equation.outvars)}
        for body in bodies:
            count = len(getattr(body, "jaxpr", body).invars)
            _write(body, [f"{len(written)} argument {i}" for i in range(count)], written)
    return [name(atom) for atom in jaxpr.outvars]


def _programs(params: dict[str, Any]) -> Iterator[ClosedJaxpr | Jaxpr]:
    """The programs among an equation's parameters, with their constants, which `jaxprs_in_params` leaves out."""
    for _, value in sorted(params.items()):
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, ClosedJaxpr | Jaxpr):
                yield each


def _is_call(equation: Any, body: ClosedJaxpr | Jaxpr) -> bool:
    """Whether an equation stands for its program: they have the same types of operands and of results."""
    inner = getattr(body, "jaxpr", body)
    ours, theirs = (*equation.invars, *equation.outvars), (*inner.invars, *inner.outvars)
    return len(equation.invars) == len(inner.invars) and [*map(_type, ours)] == [*map(_type, theirs)]


def _type(atom: Any) -> str:
    return f"{atom.aval.dtype}{list(atom.aval.shape)}" if hasattr(atom.aval, "dtype") else str(atom.aval)


def _constant(value: Any) -> str:
    array = np.asarray(value)
    return f"{array.dtype}{list(array.shape)} {array.tolist()}"
