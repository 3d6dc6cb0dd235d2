"""Artifacts of `jax.export`, which run in JAX without jds, on CPU, GPU and TPU.

https://docs.jax.dev/en/latest/export
"""

from jds.exporting.artifact._artifact import convert as convert
from jds.exporting.artifact._artifact import open as open
