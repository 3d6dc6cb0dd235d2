"""Fixtures that several tests of the functions share."""

import pytest

from jds.ops.native import _library


@pytest.fixture(params=_library.instruction_sets())
def instruction_set(request):
    """Each instruction set that the library has and this machine can run."""
    _library.use_instruction_set(request.param)
    yield request.param
    _library.use_instruction_set(_library.instruction_sets()[0])
