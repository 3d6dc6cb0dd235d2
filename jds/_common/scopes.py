"""Adds scopes to modules, which set none themselves: each call of a method is traced under its module's path."""

import contextlib
import dataclasses
import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen
import jax
from flax import nnx

from jds._common.openings import openings

ScopePath = tuple[str, ...]

# Modules keep this attribute when they are split and merged, as in `nnx.grad` and `nnx.scan`.
_MARK = "_jds_cost_path"
# Packages whose callable dataclasses are no layers; Equinox has layers in `equinox.nn` only.
_WITHOUT_LAYERS = ("jax", "flax", "optax", "jds")


def is_callable_tree(leaf: Any) -> bool:
    """Returns whether this is a callable dataclass, such as an Equinox module, but not what `filter_grad` returns."""
    return _is_layer(type(leaf))


def _is_layer(cls: type) -> bool:
    return (
        dataclasses.is_dataclass(cls)
        and any("__call__" in vars(base) for base in cls.__mro__)
        and not issubclass(cls, nnx.Pytree | flax.linen.Module)
        and _may_be_layer(cls)
    )


def _may_be_layer(cls: type) -> bool:
    package, _, rest = cls.__module__.partition(".")
    return package not in _WITHOUT_LAYERS and (package != "equinox" or rest.startswith("nn."))


def mark_paths(node: Any, path: ScopePath = ()) -> list[Any]:
    """Stores on each NNX module in a graph its path from `node`, as in `nnx.tabulate`; returns the modules."""
    modules = [(parts, module) for parts, module in nnx.iter_graph(node) if isinstance(module, nnx.Module)]
    for parts, module in modules:
        # Plain assignment fails inside a trace for a module created outside it.
        object.__setattr__(module, _MARK, (*path, *map(str, parts)))
    return [module for _, module in modules]


def modules_in_tree(node: Any, path: ScopePath = ()) -> Iterator[tuple[ScopePath, Any]]:
    """Yields the callable dataclasses and the NNX modules in a tree of dataclasses and containers, with their paths."""
    if isinstance(node, nnx.Pytree) or is_callable_tree(node):
        yield path, node
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, list | tuple):
        children = enumerate(node)
    elif isinstance(node, dict):
        children = node.items()
    elif dataclasses.is_dataclass(node) and not isinstance(node, type | nnx.Pytree):
        # A field may be missing while the tree is built.
        children = ((field.name, getattr(node, field.name, None)) for field in dataclasses.fields(node))
    for name, child in children:
        yield from modules_in_tree(child, (*path, str(name)))


@contextlib.contextmanager
def module_scopes() -> Iterator["Calls"]:
    """Context manager that wraps the methods of all NNX modules and callable dataclasses; for one thread at a time."""
    with openings():
        classes = _subclasses(nnx.Module) - {nnx.Module}
        trees = filter(_is_layer, _all_dataclasses())
        classes |= {base for cls in trees for base in cls.__mro__ if base is not object and _may_be_layer(base)}
        methods = [
            (cls, name, method) for cls in classes for name, method in vars(cls).items() if _is_method(name, method)
        ]
        calls = Calls()
        try:
            for cls, name, method in methods:
                setattr(cls, name, _scoped(method, calls))
            yield calls
        finally:
            for cls, name, method in methods:
                setattr(cls, name, method)
            for module in calls.marked:
                vars(module).pop(_MARK, None)


def _is_method(name: str, attribute: Any) -> bool:
    """Returns whether a class attribute is a method, decorated or not, that a caller may use to run the module."""
    if isinstance(attribute, staticmethod | classmethod | type) or (name.startswith("__") and name != "__call__"):
        return False
    return inspect.isfunction(attribute) or (callable(attribute) and hasattr(type(attribute), "__get__"))


class Calls:
    """The modules being called, and the paths of modules.

    Attributes:
      running: the modules being called, with their paths.
      marked: the NNX modules that were marked meanwhile.
    """

    def __init__(self):
        self.running: list[tuple[Any, ScopePath]] = []
        self.marked: list[Any] = []
        self.thread = threading.get_ident()
        # Callable dataclasses may be frozen: by identity, they themselves, which keeps them alive, and their paths.
        self._paths: dict[int, tuple[Any, ScopePath]] = {}
        # Transformations rebuild dataclasses from their arrays: their structure is left. None if several have it.
        self._path_of_structure: dict[Any, ScopePath | None] = {}

    @property
    def here(self) -> ScopePath:
        """The path of the innermost module being called."""
        return self.running[-1][1] if self.running else ()

    def note(self, tree: Any, path: ScopePath = ()) -> None:
        """Notes the paths of the callable dataclasses and NNX modules in a tree, which is at `path` itself."""
        for parts, node in modules_in_tree(tree, path):
            if isinstance(node, nnx.Pytree):
                self.marked += [] if hasattr(node, _MARK) else mark_paths(node, parts)
            elif id(node) not in self._paths:
                self._paths[id(node)] = node, parts
                structure = _structure(node)
                is_only = self._path_of_structure.setdefault(structure, parts) == parts
                self._path_of_structure[structure] = parts if is_only and structure is not None else None

    def path_of(self, module: Any) -> ScopePath:
        if isinstance(module, nnx.Module):
            if not hasattr(module, _MARK):
                # It was closed over, or created during the call.
                path = (*self.here, type(module).__name__) if self.running else ()
                self.marked += mark_paths(module, path)
            return getattr(module, _MARK)
        if id(module) not in self._paths:
            # A callable dataclass may be an attribute of an NNX module.
            for caller, path in self.running:
                if isinstance(caller, nnx.Module):
                    self.note(vars(caller), path)
            self.note(module, self._likely_path(module))
        return self._paths[id(module)][1]

    def _likely_path(self, module: Any) -> ScopePath:
        """Returns the path of a callable dataclass that is not part of another one that was seen."""
        known = self._path_of_structure.get(_structure(module))
        if known is not None and known[: len(self.here)] == self.here:
            return known
        has_arrays = any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(module))
        return (*self.here, type(module).__name__) if self.running and has_arrays else self.here


def _structure(module: Any) -> Any:
    """Returns what is left of a dataclass without its arrays; None if it is not registered as a pytree."""
    structure = jax.tree.structure(module)
    try:
        hash(structure)
    except TypeError:
        return None
    return None if jax.tree_util.treedef_is_leaf(structure) else structure


def _scoped(method: Any, calls: Calls) -> Callable[..., Any]:
    # A lambda, because there is one per method, and type-checking import hooks take a millisecond per `def`.
    return functools.wraps(method)(lambda self, *args, **kwargs: _call(method, calls, self, *args, **kwargs))


def _call(method: Any, calls: Calls, module: Any, *args: Any, **kwargs: Any) -> Any:
    bound = method.__get__(module, type(module))
    is_module = isinstance(module, nnx.Module) or is_callable_tree(module)
    if threading.get_ident() != calls.thread or not is_module:
        return bound(*args, **kwargs)
    path, here = calls.path_of(module), calls.here
    # If a module calls another of its methods, or its parent's `__call__`, it is already in its scope.
    relative = path[len(here) :] if path[: len(here)] == here else path
    calls.running.append((module, path))
    try:
        with jax.named_scope("/".join(relative)) if relative else contextlib.nullcontext():
            return bound(*args, **kwargs)
    finally:
        calls.running.pop()


def _all_dataclasses() -> set[type]:
    # To ask each of ten thousand classes whether it inherits fields takes longer than to trace a small program.
    return _subclasses(*(cls for cls in _subclasses(object) if "__dataclass_fields__" in cls.__dict__))


def _subclasses(*classes: type) -> set[type]:
    """Returns classes and all that are derived from them."""
    found: set[type] = set()
    new = [*classes]
    while new:
        found.update(new)
        new = [each for parent in new for each in type.__subclasses__(parent) if each not in found]
    return found
