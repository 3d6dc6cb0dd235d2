"""The activation of ConvNeXt's block against the slower one of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jds.nn._convnext import gelu


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_gelu_matches_that_of_jax(dtype, tolerance):
    x = jnp.linspace(-9, 9, 1001).astype(dtype)
    for transform in (lambda f: f, lambda f: jax.vmap(jax.grad(f))):
        found = transform(gelu)(x)
        wanted = transform(lambda x: jax.nn.gelu(x, approximate=False))(x.astype(jnp.float32))
        assert found.dtype == x.dtype
        np.testing.assert_allclose(np.asarray(found, np.float32), wanted, rtol=tolerance, atol=tolerance)
