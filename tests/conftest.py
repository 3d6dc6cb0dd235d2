"""Strict settings for every test: types are checked at run time, and nothing is promoted in silence."""

import gc
import os
import sys
from pathlib import Path

import jax
import jaxtyping
import pytest
from jaxtyping import install_import_hook

# The benchmarks and checks are no part of the installed package. Last, so that an installed jds is the one tested.
sys.path.append(str(Path(__file__).parents[1]))

# Before the first import of jds. The functions' arrays are checked in every run; with JDS_CHECKED=jds, as in the
# continuous integration, all calls are, which makes the suite twice as slow.
install_import_hook(os.environ.get("JDS_CHECKED", "jds.ops"), "beartype.beartype")

# Most of the time goes into compiling, which takes half of it without XLA's newer emitters of loops; from JAX 0.11 on,
# what is left of the older ones fails. Where XLA_FLAGS are set, as the continuous integration does, they are kept.
QUICK = "--xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK)

# Traced programs are many objects, which live for long: there is little to be found.
gc.set_threshold(100_000, 20, 20)

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
