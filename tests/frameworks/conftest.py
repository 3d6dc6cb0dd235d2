"""Allows implicit promotion, because the other packages rely on it."""

import jax
import pytest


@pytest.fixture(autouse=True)
def lenient_promotion():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield
