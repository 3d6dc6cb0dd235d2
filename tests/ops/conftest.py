"""What several tests of the functions use."""

import pytest

from jds.ops import library


@pytest.fixture(params=library.instruction_sets())
def instruction_set(request):
    """Each that the library has and this machine can run."""
    library.use_instruction_set(request.param)
    yield request.param
    library.use_instruction_set(library.instruction_sets()[0])
