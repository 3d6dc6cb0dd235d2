"""Adds scopes to modules, which set none themselves: each call of a method is traced under its module's path."""

import contextlib
import dataclasses
import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from flax import nnx

ScopePath = tuple[str, ...]

# Modules keep this attribute when they are split and merged, as in `nnx.grad` and `nnx.scan`.
_MARK = "_jds_cost_path"
_lock = threading.RLock()


def is_callable_tree(leaf: Any) -> bool:
    """Returns whether this is a callable dataclass, such as an Equinox module, but not what `filter_grad` returns."""
    is_wrapper = type(leaf).__module__.startswith("equinox._")
    return (
        dataclasses.is_dataclass(leaf) and not isinstance(leaf, type | nnx.Pytree) and callable(leaf) and not is_wrapper
    )


def mark_paths(node: Any, path: ScopePath = ()) -> list[Any]:
    """Stores on each module in a graph or tree its path from `node`, as in `nnx.tabulate`; returns the modules."""
    is_tree = is_callable_tree(node)
    found = _in_tree(node) if is_tree else [pair for pair in nnx.iter_graph(node) if isinstance(pair[1], nnx.Module)]
    modules = [(parts, module) for parts, module in found if not is_tree or not hasattr(module, _MARK)]
    for parts, module in modules:
        # Plain assignment fails inside a trace for a module created outside it, and for a frozen dataclass.
        object.__setattr__(module, _MARK, (*path, *map(str, parts)))
    return [module for _, module in modules]


def _in_tree(node: Any, path: ScopePath = ()) -> Iterator[tuple[ScopePath, Any]]:
    """Yields the paths of the callable dataclasses in a tree of dataclasses and containers, and these themselves."""
    if is_callable_tree(node):
        yield path, node
        # A field may be missing while the tree is built.
        children: Iterable[tuple[Any, Any]] = (
            (field.name, getattr(node, field.name, None)) for field in dataclasses.fields(node)
        )
    elif isinstance(node, list | tuple):
        children = enumerate(node)
    else:
        children = node.items() if isinstance(node, dict) else ()
    for name, child in children:
        yield from _in_tree(child, (*path, str(name)))


@contextlib.contextmanager
def module_scopes(trees: Iterable[Any] = ()) -> Iterator[None]:
    """Context manager that wraps the methods of all NNX modules; for one thread at a time.

    Args:
      trees: callable dataclasses whose classes, and those of the callable dataclasses in them, are wrapped too.
    """
    with _lock:
        classes = {*_subclasses(nnx.Module)} - {nnx.Module}
        classes |= {type(node) for tree in trees for _, node in _in_tree(tree)}
        methods = [
            (cls, name, method) for cls in classes for name, method in vars(cls).items() if _is_method(name, method)
        ]
        calling = _Calling()
        try:
            for cls, name, method in methods:
                setattr(cls, name, _scoped(method, calling))
            yield
        finally:
            for cls, name, method in methods:
                setattr(cls, name, method)
            for module in calling.marked:
                vars(module).pop(_MARK, None)


def _is_method(name: str, attribute: Any) -> bool:
    """Returns whether a class attribute is a method, decorated or not, that a caller may use to run the module."""
    if isinstance(attribute, staticmethod | classmethod | type) or (name.startswith("__") and name != "__call__"):
        return False
    return inspect.isfunction(attribute) or (callable(attribute) and hasattr(type(attribute), "__get__"))


class _Calling:
    """The paths of the modules being called, and the modules that were marked."""

    def __init__(self):
        self.paths: list[ScopePath] = []
        self.marked: list[Any] = []
        self.thread = threading.get_ident()

    def path_of(self, module: Any) -> ScopePath:
        path = getattr(module, _MARK, None)
        if path is None:
            # It was closed over, or created during the call.
            path = (*self.paths[-1], type(module).__name__) if self.paths else ()
            self.marked += mark_paths(module, path)
        return path


def _scoped(method: Any, calling: _Calling) -> Callable[..., Any]:
    # A lambda, because there is one per method, and type-checking import hooks take a millisecond per `def`.
    return functools.wraps(method)(lambda self, *args, **kwargs: _call(method, calling, self, *args, **kwargs))


def _call(method: Any, calling: _Calling, module: Any, *args: Any, **kwargs: Any) -> Any:
    bound = method.__get__(module, type(module))
    if threading.get_ident() != calling.thread:
        return bound(*args, **kwargs)
    path, here = calling.path_of(module), calling.paths[-1] if calling.paths else ()
    # If a module calls another of its methods, or its parent's `__call__`, it is already in its scope.
    relative = path[len(here) :] if path[: len(here)] == here else path
    calling.paths.append(path)
    try:
        with jax.named_scope("/".join(relative)) if relative else contextlib.nullcontext():
            return bound(*args, **kwargs)
    finally:
        calling.paths.pop()


def _subclasses(cls: type) -> set[type]:
    return {cls}.union(*map(_subclasses, cls.__subclasses__()))
