"""For packages that do not know jds: what they promote in silence is their own affair."""

import jax
import pytest


@pytest.fixture(autouse=True)
def lenient_promotion():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield
