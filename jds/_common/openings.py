"""Gives each opening of a scope an identity while a program is traced, and tells JAX's own scopes from the user's.

JAX can list the scopes of an equation twice, as around a recomputation, and opens scopes of its own, as in
`jnp.einsum`. Names do not tell the former from two scopes of the same name, and the latter from a scope of the user.
What opened them, and when, does.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import jax

# What `jax.named_scope` returns, and what functions of JAX open themselves.
_Scope: Any = type(jax.named_scope(""))
# Modules of JAX that open scopes by decorating functions of their own.
_DECORATING = ("jax._src.numpy.einsum", "jax._src.ad_checkpoint")
_lock = threading.RLock()


class Part(str):
    """A name on the path of an equation: one object for each opening of its scope, even if names are equal."""


class Opening(str):
    """The name of a scope that was opened.

    Attributes:
      parts: what it adds to the path of an equation: the name, split at slashes.
      is_of_jax: whether JAX opened it, rather than a user or another library.
    """

    parts: tuple[Part, ...]
    is_of_jax: bool


class Outer:
    """The scopes around each opening, for equations that JAX moved out of a loop: their paths begin inside of it.

    Args:
      paths: the paths of all equations.
    """

    def __init__(self, paths: Iterable[tuple[str, ...]]) -> None:
        # The longest path to each opening, by its identity.
        self._around: dict[int, tuple[str, ...]] = {}
        for path in paths:
            for depth, part in enumerate(path):
                if isinstance(part, Part) and depth > len(self._around.get(id(part), ())):
                    self._around[id(part)] = path[:depth]

    def whole(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Returns a path with the scopes around its first one."""
        around = self._around.get(id(path[0]), ()) if path else ()
        return (*around, *path) if around else path


@contextlib.contextmanager
def openings() -> Iterator[None]:
    """Context manager in which scopes that are opened get an `Opening` for a name; for one thread at a time."""
    with _lock:
        enter = _Scope.__enter__
        # A lambda, because type-checking import hooks would wrap a `def` in a function with a frame of its own.
        _Scope.__enter__ = lambda scope: _enter(enter, scope, sys._getframe(1))
        try:
            yield
        finally:
            _Scope.__enter__ = enter


def _enter(enter: Callable[[Any], Any], scope: Any, opener: FrameType) -> Any:
    name = scope.name
    scope.name = _opening(name, opener)
    try:
        return enter(scope)
    finally:
        scope.name = name


def _opening(name: str, opener: FrameType) -> Opening:
    if isinstance(name, Opening):  # by this context manager, inside of another one
        return name
    opening = Opening(name)
    opening.parts = tuple(Part(part) for part in name.split("/") if part)
    opening.is_of_jax = _is_of_jax(opener)
    return opening


def _is_of_jax(opener: FrameType) -> bool:
    """Returns whether this code opens a scope for JAX."""
    if opener.f_code.co_name in ("wrapper", "inner") and "func" in opener.f_locals:
        # The scope is used as a decorator: it belongs to whoever wrote the decorated function.
        return getattr(opener.f_locals["func"], "__module__", None) in _DECORATING
    return opener.f_globals.get("__name__", "").startswith("jax.")
