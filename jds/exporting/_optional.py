"""Packages that only some formats need."""

import importlib.metadata
import importlib.util


def version(package: str) -> str:
    """Returns the version of an installed package."""
    return importlib.metadata.version(package)


def is_installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
