"""Every example in a public docstring runs and prints what it shows."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import jds
import jds.compare
from jds.cost.devices import _rates

MODULES = ["jds", *(module.name for module in pkgutil.walk_packages(jds.__path__, "jds."))]
PACKAGES = [jds, jds.nn, jds.models, jds.cost, jds.compare, jds.ops]


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_right(module, request, monkeypatch, tmp_path):
    if module.startswith(("jds.models", "jds.nn", "jds.zoo", "jds.weights")):
        request.getfixturevalue("quick_compilation")  # these compile whole networks; the values do not depend on it
    # The rates of this machine take seconds to measure, and are cached in the user's folder.
    monkeypatch.setattr(_rates, "_rate", lambda count, run: _rates.Spread(1.0, 1.0, 1.0))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert not failed


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_public_names_have_examples(package):
    public = {name: value for name, value in vars(package).items() if not name.startswith("_")}
    functions = {name: value for name, value in public.items() if inspect.isclass(value) or inspect.isroutine(value)}
    assert len(functions) > 5
    finder = doctest.DocTestFinder(recurse=False)
    without = [name for name, value in functions.items() if not any(test.examples for test in finder.find(value, name))]
    assert without == []
