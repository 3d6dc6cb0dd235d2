"""Adds scopes to NNX modules, which set none themselves: each call is traced under its module's path."""

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from flax import nnx

ScopePath = tuple[str, ...]

# Modules keep this attribute when they are split and merged, as in `nnx.grad` and `nnx.scan`.
_MARK = "_jds_cost_path"
_lock = threading.RLock()


def mark_paths(node: Any, path: ScopePath = ()) -> list[nnx.Module]:
    """Stores on each module in a graph its path from `node`, as in `nnx.tabulate`; returns the modules."""
    modules = [(parts, module) for parts, module in nnx.iter_graph(node) if isinstance(module, nnx.Module)]
    for parts, module in modules:
        # Plain assignment fails inside a trace for a module created outside it.
        object.__setattr__(module, _MARK, (*path, *map(str, parts)))
    return [module for _, module in modules]


@contextlib.contextmanager
def module_scopes() -> Iterator[None]:
    """Context manager that wraps `__call__` of all NNX modules; for one thread at a time."""
    with _lock:
        calls = {cls: call for cls in _subclasses(nnx.Module) if inspect.isfunction(call := vars(cls).get("__call__"))}
        calling = _Calling()
        try:
            for cls, call in calls.items():
                cls.__call__ = _scoped(call, calling)
            yield
        finally:
            for cls, call in calls.items():
                cls.__call__ = call
            for module in calling.marked:
                vars(module).pop(_MARK, None)


class _Calling:
    """The paths of the modules being called, and the modules that were marked."""

    def __init__(self):
        self.paths: list[ScopePath] = []
        self.marked: list[nnx.Module] = []
        self.thread = threading.get_ident()

    def path_of(self, module: nnx.Module) -> ScopePath:
        path = getattr(module, _MARK, None)
        if path is None:
            # It was closed over, or created during the call.
            path = (*self.paths[-1], type(module).__name__) if self.paths else ()
            self.marked += mark_paths(module, path)
        return path


def _scoped(call: Callable[..., Any], calling: _Calling) -> Callable[..., Any]:
    # A lambda, because there is one per class, and type-checking import hooks take a millisecond per `def`.
    return functools.wraps(call)(lambda self, *args, **kwargs: _call(call, calling, self, *args, **kwargs))


def _call(call: Callable[..., Any], calling: _Calling, module: nnx.Module, *args: Any, **kwargs: Any) -> Any:
    if threading.get_ident() != calling.thread:
        return call(module, *args, **kwargs)
    path, here = calling.path_of(module), calling.paths[-1] if calling.paths else ()
    # If a class calls its parent's `__call__`, it is already in its scope.
    relative = path[len(here) :] if path[: len(here)] == here else path
    calling.paths.append(path)
    try:
        with jax.named_scope("/".join(relative)) if relative else contextlib.nullcontext():
            return call(module, *args, **kwargs)
    finally:
        calling.paths.pop()


def _subclasses(cls: type) -> set[type]:
    return {cls}.union(*map(_subclasses, cls.__subclasses__()))
