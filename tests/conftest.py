"""Strict settings for every test: types are checked at run time, and nothing is promoted in silence."""

import jax
import jaxtyping
import pytest
from jaxtyping import install_import_hook

# Before the first import of jds, whose annotations it checks.
install_import_hook("jds", "beartype.beartype")

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def unchecked_types():
    """Lets wrong arguments through to jds's own checks, as at the user's run time."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def quick_compilation():
    """Has LLVM do less; XLA's own passes and the values are the same."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
