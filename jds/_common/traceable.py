"""Converts a function with its arguments to a function of arrays, traced once with the modules' paths as scopes."""

import functools
import inspect
import os
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import flax.errors
import jax
import numpy as np
from flax import nnx
from jax.extend.core import ClosedJaxpr

from jds._common.scopes import mark_paths, module_scopes

T = TypeVar("T")

# JAX treats this file and its arguments as the user's.
_THIS_FILE = re.compile(rf"\nThe error occurred while tracing the function \S+ at {re.escape(__file__)}[^\n]*")
# Lines in these folders are not the user's: the site-packages of JAX and NumPy, and jds itself.
_LIBRARIES = tuple(f"{Path(file).parents[1]}{os.sep}" for file in (jax.__file__, np.__file__, __file__))

# Part of the key of JAX's caches: functions already traced without the modules' scopes are traced again.
_tracing = jax.make_user_context(None)


class Traceable:
    """A function with its arguments, which is traced, lowered and compiled on demand, each at most once.

    The function and its arguments are split into arrays, which are traced, and everything else, which is kept. Modules
    are copied, which leaves the caller's state unchanged; while the function is traced, their paths are scopes.

    Args:
      fun: a function, jitted or not, an NNX module, or a method of one.
      args, kwargs: its arguments: pytrees of arrays, `jax.ShapeDtypeStruct`s, NNX modules, and anything else.
      traces_numbers: whether Python and NumPy scalars are traced like arrays, rather than passed on unchanged.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds._common.traceable import Traceable
      >>> program = Traceable(jnp.dot, (jnp.ones((8, 16)), jnp.ones((16, 4))))
      >>> program.jaxpr.out_avals
      [ShapedArray(float32[8,4])]
      >>> program.compiled(*program.arrays)[0].shape
      (8, 4)
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        traces_numbers: bool = True,
    ):
        kwargs = dict(kwargs or {})
        self._is_array = _is_array_or_number if traces_numbers else _is_array
        self._name = getattr(fun, "__name__", type(fun).__name__)
        self._shapes = ", ".join(map(_in_words, jax.tree.leaves((args, kwargs), is_leaf=_is_node)))
        self.argument_count = len(args)
        if inspect.ismethod(fun) and _is_node(fun.__self__):
            fun, args = fun.__func__, (fun.__self__, *args)
        self._leaves, self._tree = jax.tree.flatten((fun, args, kwargs), is_leaf=_is_node)
        # Copies, because the paths are stored on the modules.
        nodes = nnx.clone([leaf for leaf in self._leaves if _is_node(leaf)])
        for node in nodes:
            mark_paths(node)
        self._graph, *states = nnx.split(nodes, nnx.Param, ...)
        (params, self._params), (rest, self._rest) = map(jax.tree.flatten, states)
        self._split = len(params), len(params) + len(rest)
        arrays = [leaf for leaf in self._leaves if self._is_array(leaf)]
        self.arrays = [*params, *rest, *arrays]
        # For the function, a method's module, and each argument; the last `argument_count` are the arguments.
        self._leaves_of = [jax.tree.leaves(arg, is_leaf=_is_node) for arg in (fun, *args)]

    @functools.cached_property
    def _traced(self) -> jax.stages.Traced:
        return self._in_scopes(lambda: jax.jit(self._call).trace(*self.arrays))

    @functools.cached_property
    def jaxpr(self) -> ClosedJaxpr:
        """The jaxpr of the program.

        Raises:
          TypeError, ValueError: the function cannot be traced with these arguments, which the message describes.
        """
        return self._traced.jaxpr

    @functools.cached_property
    def lowered(self) -> jax.stages.Lowered:
        """The program as JAX passes it to XLA; raises the same errors as `jaxpr`."""
        traced = self._traced
        return self._in_scopes(traced.lower)

    @functools.cached_property
    def compiled(self) -> jax.stages.Compiled:
        """The compiled program, a function of `arrays`; raises the same errors as `jaxpr`."""
        return self.lowered.compile()

    def parameters(self, argnums: tuple[int, ...] | None) -> list[int]:
        """Returns the indices of the parameters in `arrays`: those in `argnums`, or by default the `nnx.Param`s."""
        if argnums is None:
            return list(range(self._split[0]))
        found, position = [], self._split[1]
        for number, leaves in enumerate(self._leaves_of, start=self.argument_count - len(self._leaves_of)):
            count = sum(map(self._is_array, leaves))
            if number in argnums:
                found += range(position, position + count)
            position += count
        return found

    def _in_scopes(self, trace: Callable[[], T]) -> T:
        """Calls `trace` with the modules' paths as scopes, and adds to errors what was being traced."""
        with module_scopes(), _tracing(object()):
            try:
                return trace()
            except flax.errors.TraceContextError as error:
                raise ValueError(
                    f"{self._name} changes the state of a module that it closes over, for example in training mode: "
                    f"pass the module as an argument, got only ({self._shapes})"
                ) from error
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                words = _THIS_FILE.sub("", str(error)) + _place(error)
                raise kind(f"{self._name} cannot be traced with arguments ({self._shapes}): {words}") from error

    def _call(self, *arrays: Any) -> list[Any]:
        """Calls the function; returns the arrays in its results and the modules' updated state."""
        params, rest, plain = arrays[: self._split[0]], arrays[slice(*self._split)], iter(arrays[self._split[1] :])
        nodes = nnx.merge(self._graph, self._params.unflatten(params), self._rest.unflatten(rest))
        next_node = iter(nodes)
        leaves = [
            next(next_node) if _is_node(leaf) else next(plain) if self._is_array(leaf) else leaf
            for leaf in self._leaves
        ]
        fun, args, kwargs = self._tree.unflatten(leaves)
        results = jax.tree.leaves(fun(*args, **kwargs), is_leaf=_is_node)
        nodes = [*(leaf for leaf in results if _is_node(leaf)), *nodes]
        # State that was not written must not be a result: XLA would copy it.
        given = set(map(id, arrays))
        left = [leaf for leaf in jax.tree.leaves(nnx.split(nodes)[1]) if id(leaf) not in given]
        return [leaf for leaf in (*results, *left) if _is_array_or_number(leaf)]


def as_traceable(fun: Callable[..., Any] | Traceable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traceable:
    """Returns a function with its arguments; a `Traceable` is returned unchanged."""
    return fun if isinstance(fun, Traceable) else Traceable(fun, args, kwargs)


def _place(error: Exception) -> str:
    """Returns the place in user code where an error was raised, if any."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_LIBRARIES) and "<" not in frame.filename
    ]
    return f"\n({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _is_node(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Pytree | nnx.Variable)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray)


def _is_array_or_number(leaf: Any) -> bool:
    return _is_array(leaf) or isinstance(leaf, np.generic | bool | int | float | complex)


def _in_words(leaf: Any) -> str:
    if _is_node(leaf):
        return type(leaf).__name__
    return str(jax.typeof(leaf)) if hasattr(leaf, "dtype") else repr(leaf)
