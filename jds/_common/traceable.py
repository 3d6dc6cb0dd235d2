"""Functions of arrays and NNX modules as functions of arrays alone, to be traced with the modules' paths as scopes."""

import inspect
import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.errors
import jax
import numpy as np
from flax import nnx

from jds._common.scopes import mark_paths, module_scopes

# JAX takes this file for the user's, and its arguments.
_THIS_FILE = re.compile(rf"\nThe error occurred while tracing the function \S+ at {re.escape(__file__)}[^\n]*")
# Whose lines are not the user's: JAX's and what is beside it, NumPy's, and jds's own.
_LIBRARIES = tuple(f"{Path(file).parents[1]}{os.sep}" for file in (jax.__file__, np.__file__, __file__))

# Part of the key of JAX's caches: what was traced before, without the modules' scopes, is traced again.
_tracing = jax.make_user_context(None)


class Arguments:
    """A function and its arguments, taken apart into arrays, which are traced, and all else, which is kept."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self._name = getattr(fun, "__name__", type(fun).__name__)
        self._shapes = ", ".join(map(_in_words, jax.tree.leaves((args, kwargs), is_leaf=_is_node)))
        self._count = len(args)
        if inspect.ismethod(fun) and _is_node(fun.__self__):
            fun, args = fun.__func__, (fun.__self__, *args)
        self._leaves, self._tree = jax.tree.flatten((fun, args, kwargs), is_leaf=_is_node)
        # Of copies: the paths are written on the modules.
        nodes = nnx.clone([leaf for leaf in self._leaves if _is_node(leaf)])
        for node in nodes:
            mark_paths(node)
        self._graph, *states = nnx.split(nodes, nnx.Param, ...)
        (params, self._params), (rest, self._rest) = map(jax.tree.flatten, states)
        self._split = len(params), len(params) + len(rest)
        arrays = [leaf for leaf in self._leaves if _is_array(leaf)]
        self.arrays = [*params, *rest, *arrays]
        # For the function, a method's module, and each argument; the arguments are the last `self._count`.
        self._leaves_of = [jax.tree.leaves(arg, is_leaf=_is_node) for arg in (fun, *args)]

    def traced(self, how: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
        """`how(self.call)(*self.arrays)`, where `how` traces: the modules' paths are scopes meanwhile.

        Raises:
          TypeError, ValueError: the function cannot be traced with these arguments, which the message tells.
        """
        with module_scopes(), _tracing(object()):
            try:
                return how(self.call)(*self.arrays)
            except flax.errors.TraceContextError as error:
                raise ValueError(
                    f"{self._name} changes the state of a module that it closes over, as one in training mode does: "
                    f"the module must be an argument, got only ({self._shapes})"
                ) from error
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                words = _THIS_FILE.sub("", str(error)) + _place(error)
                raise kind(f"{self._name} cannot be traced with arguments ({self._shapes}): {words}") from error

    def call(self, *arrays: Any) -> list[Any]:
        """The function, of the arrays alone; returns the arrays of its results, and what it left in the modules."""
        params, rest, plain = arrays[: self._split[0]], arrays[slice(*self._split)], iter(arrays[self._split[1] :])
        nodes = nnx.merge(self._graph, self._params.unflatten(params), self._rest.unflatten(rest))
        next_node = iter(nodes)
        leaves = [
            next(next_node) if _is_node(leaf) else next(plain) if _is_array(leaf) else leaf for leaf in self._leaves
        ]
        fun, args, kwargs = self._tree.unflatten(leaves)
        results = jax.tree.leaves(fun(*args, **kwargs), is_leaf=_is_node)
        nodes = [*(leaf for leaf in results if _is_node(leaf)), *nodes]
        # What was not written is no result: XLA would copy it.
        given = set(map(id, arrays))
        left = [leaf for leaf in jax.tree.leaves(nnx.split(nodes)[1]) if id(leaf) not in given]
        return [leaf for leaf in (*results, *left) if _is_array(leaf)]

    def parameters(self, arguments: tuple[int, ...] | None) -> list[int]:
        """Which of the arrays are parameters: those of these arguments, or else the `nnx.Param`s."""
        if arguments is None:
            return list(range(self._split[0]))
        found, position = [], self._split[1]
        for number, leaves in enumerate(self._leaves_of, start=self._count - len(self._leaves_of)):
            count = sum(map(_is_array, leaves))
            if number in arguments:
                found += range(position, position + count)
            position += count
        return found


def _place(error: Exception) -> str:
    """Where in the user's own code an error arose, if it did."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_LIBRARIES) and "<" not in frame.filename
    ]
    return f"\n({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _is_node(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Pytree | nnx.Variable)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic | bool | int | float | complex)


def _in_words(leaf: Any) -> str:
    if _is_node(leaf):
        return type(leaf).__name__
    return str(jax.typeof(leaf)) if hasattr(leaf, "dtype") else repr(leaf)
