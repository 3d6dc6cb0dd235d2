"""Every example in a public docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import jds

MODULES = ["jds", *(module.name for module in pkgutil.walk_packages(jds.__path__, "jds."))]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module, request):
    if module.startswith(("jds.models", "jds.nn", "jds.zoo", "jds.weights")):
        request.getfixturevalue("quick_compilation")  # of whole networks, whose values do not depend on it
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert not failed


def test_public_names_have_examples():
    finder = doctest.DocTestFinder(recurse=False)
    public = [getattr(jds, name) for name in dir(jds) if not name.startswith("_")]
    public += [getattr(jds.nn, name) for name in ("DepthwiseConv", "PointwiseConv", "SeparableConv")]
    public += [jds.models.MobileNetV1]
    functions = [value for value in public if callable(value) and value not in (jds.Choice, jds.Selection)]
    assert len(functions) >= 13
    for function in functions:
        assert any(test.examples for test in finder.find(function)), f"{function.__name__} has no example"
