"""Converts a function with its arguments to a function of arrays, traced once with the modules' paths as scopes."""

import contextlib
import functools
import inspect
import itertools
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import flax.errors
import jax
import numpy as np
from flax import nnx
from jax.extend.core import ClosedJaxpr

from jds._common.scopes import Calls, is_callable_tree, mark_paths, module_scopes, modules_in_tree

T = TypeVar("T")

# What an array of a program is for.
Role = Literal["parameter", "optimizer", "state", "argument"]

# JAX treats this file and its arguments as the user's.
_THIS_FILE = re.compile(rf"\nThe error occurred while tracing the function \S+ at {re.escape(__file__)}[^\n]*")
# Lines in these folders are not the user's: the site-packages of JAX and NumPy, Python's own library, and jds itself.
_FOLDERS = [*(Path(file).parents[1] for file in (jax.__file__, np.__file__, __file__)), Path(os.__file__).parent]
_FRAME = re.compile(r'^ +File "([^"]+)", line (\d+)', re.MULTILINE)
_LIBRARIES = tuple(f"{folder}{os.sep}" for folder in _FOLDERS)

# Part of the key of JAX's caches: functions already traced without the modules' scopes are traced again.
_tracing = jax.make_user_context(None)


class Traceable:
    """A function with its arguments, which is traced and lowered on demand, each at most once.

    The function and its arguments are split into arrays, which are traced, and everything else, which is kept. Copies
    of the modules are traced, which leaves the caller's state unchanged; meanwhile, their paths are scopes.

    Args:
      fun: a function, jitted or not, an NNX module, or a method of one.
      args, kwargs: its arguments: pytrees of arrays, `jax.ShapeDtypeStruct`s, NNX modules, and anything else.
      traces_numbers: whether arguments that are Python or NumPy numbers, except for Booleans, are traced like arrays,
        rather than passed on unchanged, as the function's own and those of callable dataclasses always are.

    Example:
      >>> import jax.numpy as jnp
      >>> from jds._common.traceable import Traceable
      >>> program = Traceable(jnp.dot, (jnp.ones((8, 16)), jnp.ones((16, 4))))
      >>> program.jaxpr.out_avals
      [ShapedArray(float32[8,4])]
      >>> program.lowered.compile()(*program.arrays)[0].shape
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
        if fault := _fault(fun):
            raise TypeError(f"`fun` must be a function or a module, {fault}")
        kwargs = dict(kwargs or {})
        self.name = _name_of(fun)  # for messages
        self.title = self.name  # for reports
        self._shapes = ", ".join(map(_in_words, jax.tree.leaves((args, kwargs), is_leaf=_is_node)))
        self.argument_count = len(args)
        if inspect.ismethod(fun) and _is_module(fun.__self__):
            fun, args = fun.__func__, (fun.__self__, *args)
        self._leaves, self._tree = jax.tree.flatten((fun, args, kwargs), is_leaf=_is_node)
        self._is_traced = list(_are_traced(fun, (args, kwargs), traces_numbers))
        of_trees = {id(node): path for tree in _trees((fun, args, kwargs)) for path, node in modules_in_tree(tree)}
        nodes = [leaf for leaf in self._leaves if _is_node(leaf)]
        self._paths = [of_trees.get(id(node), ()) for node in nodes]
        self._graph, *states = nnx.split(nodes, nnx.Param, nnx.OptState, ...)
        self._states = [jax.tree.flatten(state) for state in states]
        of_states = [leaf for leaves, _ in self._states for leaf in leaves]
        self.arrays = [*of_states, *itertools.compress(self._leaves, self._is_traced)]
        self._calls = Calls()  # while the program is traced
        self._places = list(self._places_of(states, fun, args, kwargs))

    def _places_of(
        self, states: list[Any], fun: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[tuple[int | None, Role]]:
        """Yields the argument that each array belongs to (None for the function's own), and its role."""
        whole = (fun, args, kwargs)
        shift = len(args) - self.argument_count  # 1 for a method, whose module is its first argument
        place_of_node: list[int | None] = []
        of_arrays: list[tuple[int | None, Role]] = []
        leaves = jax.tree_util.tree_leaves_with_path(whole, is_leaf=_is_node)
        for (path, leaf), is_traced in zip(leaves, self._is_traced, strict=True):
            number = path[1].idx - shift if path[0].idx == 1 else None
            number = None if number is not None and number < 0 else number
            if _is_node(leaf):
                place_of_node.append(number)
            elif is_traced:
                of_arrays.append((number, _role(whole, path, leaf)))
        for state, role in zip(states, ("parameter", "optimizer", "state"), strict=True):
            for path, _ in jax.tree_util.tree_leaves_with_path(state):
                yield place_of_node[path[0].key], role
        yield from of_arrays

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

    def parameters(self, argnums: tuple[int, ...] | None) -> list[int]:
        """Returns the indices of the parameters in `arrays`.

        Args:
          argnums: the arguments that are parameters; of a module, its parameters are. By default, the parameters are
            the `nnx.Param`s, the floating-point arrays of the function itself and of callable dataclasses, and those
            under the key `"params"`.
        """
        if argnums is None:
            return [i for i, (_, role) in enumerate(self._places) if role == "parameter"]
        named = {number for number, role in self._places if role != "argument"}
        return [
            i
            for i, (number, role) in enumerate(self._places)
            if number in argnums and (role == "parameter" or number not in named)
        ]

    @property
    def roles(self) -> list[Role]:
        """The role of each of `arrays`."""
        return [role for _, role in self._places]

    def _in_scopes(self, trace: Callable[[], T]) -> T:
        """Calls `trace` with the modules' paths as scopes, and adds to errors what was being traced."""
        with module_scopes() as self._calls, _tracing(object()):
            try:
                return trace()
            except flax.errors.TraceContextError as error:
                raise ValueError(
                    f"{self.name} changes the state of a module that it closes over, for example in training mode: "
                    "switch the module to evaluation mode with `module.eval()`, or pass it as an argument; the "
                    f"arguments are ({self._shapes}){_place(error)}"
                ) from error
            except (TypeError, ValueError, flax.errors.FlaxError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                words = _THIS_FILE.sub("", str(error)) + _place(error)
                words += "".join(hint for sign, hint in _HINTS.items() if sign in words)
                raise kind(f"{self.name} cannot be traced with arguments ({self._shapes}): {words}") from error

    def _call(self, *arrays: Any) -> list[Any]:
        """Calls the function; returns the arrays in its results and the modules' updated state."""
        rest, states = iter(arrays), []
        for leaves, tree in self._states:
            states.append(tree.unflatten([next(rest) for _ in leaves]))
        nodes = nnx.merge(self._graph, *states)
        for node, path in zip(nodes, self._paths, strict=True):
            mark_paths(node, path)
        next_node = iter(nodes)
        leaves = [
            next(next_node) if _is_node(leaf) else next(rest) if is_traced else leaf
            for leaf, is_traced in zip(self._leaves, self._is_traced, strict=True)
        ]
        fun, args, kwargs = self._tree.unflatten(leaves)
        for module in (*_trees((fun, args, kwargs)), *_owners(fun)):
            self._calls.note(module)
        results = jax.tree.leaves(fun(*args, **kwargs), is_leaf=_is_node)
        nodes = [*(leaf for leaf in results if _is_node(leaf)), *nodes]
        # State that was not written must not be a result: XLA would copy it.
        given = set(map(id, arrays))
        left = [leaf for leaf in jax.tree.leaves(nnx.split(nodes)[1]) if id(leaf) not in given]
        return [leaf for leaf in (*results, *left) if _is_array_or_number(leaf)]


def as_traceable(fun: Callable[..., Any] | Traceable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traceable:
    """Returns a function with its arguments; a `Traceable` is returned unchanged."""
    return fun if isinstance(fun, Traceable) else Traceable(fun, args, kwargs)


# What a part of an error message is a sign of.
_HINTS = {
    **dict.fromkeys(
        ("Non-hashable static arguments", "Shapes must be 1D sequences of concrete values"),
        "\nA number is traced as an array. Close over one that must stay a number: `lambda x: f(x, 2)`.",
    ),
    "'ShapeDtypeStruct'": (
        "\nPass a module without arrays as an argument, rather than close over it: `analyze(lambda m, x: m(x), m, x)`."
    ),
    "compact methods on unbound modules": (
        "\nPass the method `apply` of a Linen module, and its variables: `analyze(module.apply, variables, x)`."
    ),
}


_ROLES: Mapping[str, Role] = {"params": "parameter", "opt_state": "optimizer"}


def _role(whole: Any, path: tuple[Any, ...], leaf: Any) -> Role:
    """Returns the role of an array outside of NNX modules, from the objects on the path to it."""
    on_path, node = [], whole
    for key in path:
        on_path.append(node)
        node = _child(node, key)
    depth = 2 if path[0].idx else 1  # of an argument, or of the function
    if any(type(each).__module__.partition(".")[0] == "optax" for each in on_path):
        return "optimizer"
    if len(on_path) > depth and isinstance(on_path[depth], Mapping) and "params" in on_path[depth]:
        # The variables of a Linen module.
        return "parameter" if getattr(path[depth], "key", None) == "params" else "state"
    for each, key in zip(on_path, path, strict=True):
        if hasattr(each, "params") and hasattr(each, "opt_state"):  # as Flax's TrainState has
            return _ROLES.get(getattr(key, "name", ""), "state")
    if path[0].idx == 0 or any(map(is_callable_tree, on_path)):
        return "parameter" if jax.numpy.issubdtype(jax.numpy.result_type(leaf), jax.numpy.inexact) else "state"
    return "argument"


def _child(node: Any, key: Any) -> Any:
    match key:
        case jax.tree_util.SequenceKey(idx=index):
            return node[index]
        case jax.tree_util.DictKey(key=name):
            return node[name]
        case jax.tree_util.GetAttrKey(name=name):
            return getattr(node, name)
    return None  # of a node that is registered without names


def places_in_user_code(error: BaseException) -> list[str]:
    """Returns the lines of the user's code that were running when an error was raised, the innermost last.

    An error in a callback has them in its message.

    Example:
      >>> from jds._common.traceable import places_in_user_code
      >>> places_in_user_code(ValueError("never raised"))
      []
    """
    lines: list[tuple[str, Any]] = [
        (frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)
    ]
    with contextlib.suppress(Exception):  # a message that cannot be made
        lines += _FRAME.findall(str(error))
    return [f"{file}:{line}" for file, line in lines if not file.startswith(_LIBRARIES) and "<" not in file]


def _place(error: Exception) -> str:
    """Returns the place in user code where an error was raised, if any."""
    return "".join(f"\n({place})" for place in places_in_user_code(error)[-1:])


def _name_of(fun: Any) -> str:
    """Returns the name of a function; for a gradient by Flax, whose name is `grad_wrapper`, that of what it is of."""
    inner = inspect.unwrap(fun) if inspect.isfunction(fun) else fun
    if inspect.isfunction(inner) and inner.__name__ == "grad_wrapper":
        fun = inspect.getclosurevars(inner).nonlocals.get("f", fun)
    return getattr(fun, "__name__", type(fun).__name__)


def _fault(fun: Any) -> str | None:
    """Says why something cannot be called with arrays; None if it can."""
    if not callable(fun):
        return f"got {type(fun).__name__}" + (", which has no `__call__`" if _is_node(fun) else "")
    if any(
        test(fun) for test in (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    ):
        return "got a generator or a coroutine, whose body does not run when it is called"
    makes_modules = isinstance(fun, type) and (
        issubclass(fun, nnx.Pytree) or any("__call__" in vars(base) for base in fun.__mro__)
    )
    return f"got the class {fun.__name__}; pass an instance of it" if makes_modules else None


def _is_node(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Pytree | nnx.Variable)


def _is_module(leaf: Any) -> bool:
    return _is_node(leaf) or is_callable_tree(leaf)


def _trees(whole: Any) -> list[Any]:
    """Returns the modules that are not in Flax: callable dataclasses."""
    return [leaf for leaf in jax.tree.leaves(whole, is_leaf=_is_module) if is_callable_tree(leaf)]


def _owners(fun: Any) -> Iterator[Any]:
    """Yields the objects whose method a function is, possibly transformed."""
    while fun is not None:
        if inspect.ismethod(fun):
            yield fun.__self__
        fun = fun.func if isinstance(fun, functools.partial) else getattr(fun, "__wrapped__", None)


def _are_traced(fun: Any, arguments: Any, traces_numbers: bool) -> Iterator[bool]:
    """Yields whether each leaf of a function and its arguments is traced as an array."""
    for part in (fun, arguments):
        for outer in jax.tree.leaves(part, is_leaf=_is_module):
            # The numbers of a module are its settings.
            is_own = part is fun or is_callable_tree(outer)
            is_traced = _is_array_or_number if traces_numbers and not is_own else _is_array
            yield from map(is_traced, jax.tree.leaves(outer, is_leaf=_is_node))


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray)


def _is_array_or_number(leaf: Any) -> bool:
    # A Boolean is an option, such as `train=True`.
    is_number = isinstance(leaf, np.generic | int | float | complex) and not isinstance(leaf, bool | np.bool_)
    return _is_array(leaf) or is_number


def _in_words(leaf: Any) -> str:
    if _is_node(leaf):
        return type(leaf).__name__
    return str(jax.typeof(leaf)) if hasattr(leaf, "dtype") else repr(leaf)
