"""Strict settings for every test: types are checked at run time, and implicit promotion is an error."""

import gc
import os
import sys
from pathlib import Path

import jax
import jaxtyping
import pytest
from jaxtyping import install_import_hook

# For the benchmarks and checks, which are not part of the installed package. Appended, so that an installed jds is the
# one tested.
sys.path.append(str(Path(__file__).parents[1]))

# Must run before the first import of jds. Every run checks the arrays passed to the functions in `jds.ops`; with
# JDS_CHECKED=jds, as in continuous integration, all calls are checked, which makes the suite twice as slow.
install_import_hook(os.environ.get("JDS_CHECKED", "jds.ops"), "beartype.beartype")

# Most of the time is spent compiling. It takes far less if LLVM does not optimize and without XLA's newer loop emitters;
# from JAX 0.11 on, the older ones no longer work. XLA's own passes stay the same. If XLA_FLAGS is set, it is kept:
# continuous integration also compiles with XLA's default flags.
QUICK = "--xla_cpu_parallel_codegen_split_count=1 --xla_backend_optimization_level=0"
QUICK += " --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK)

# Traced programs consist of many long-lived objects, so frequent garbage collection finds little.
gc.set_threshold(100_000, 20, 20)

# Operations of compiled programs need not say which lines of Python led there, which takes a tenth of the time. Also
# an environment variable, for the processes that tests start.
TRACEBACKS = os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
jax.config.update("jax_traceback_in_locations_limit", int(TRACEBACKS))

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
    """Makes LLVM optimize less; XLA's own passes and the values stay the same."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def small_networks():
    """Makes public networks small under their own names, one of each family."""
    from networks import small_zoo  # imports jds, whose types are checked from then on

    with small_zoo():
        yield
