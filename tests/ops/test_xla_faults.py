"""XLA's wrong results that jds works around. A test fails once XLA is fixed; then update `docs/known-faults.md`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

NUMBERS = ("NHWC", "HWIO", "NHWC")
plain = functools.partial(lax.conv_general_dilated, window_strides=(1, 1), dimension_numbers=NUMBERS)


@pytest.mark.parametrize("features", [3, 8, 16])
def test_negative_padding_reads_outside_of_the_array(features):
    # https://github.com/openxla/xla/issues/48713; `jds.ops._crop` can be removed once JAX 0.12 is the oldest supported.
    rng = np.random.default_rng(0)
    x, k = rng.standard_normal((1, 6, 6, features)), rng.standard_normal((3, 3, features, 8))
    x, k = x.astype(np.float32), k.astype(np.float32)
    right = plain(x[:, :, 4:], k, padding=((0, 0), (0, 3)))
    is_right = np.allclose(plain(x, k, padding=((0, 0), (-4, 3))), right, atol=1e-3)
    assert is_right == (jax.__version_info__ >= (0, 12))


def test_gradients_of_each_example_are_mixed_up_across_devices():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((8, 8, 8, 8)), jnp.float32)
    k = jnp.asarray(rng.standard_normal((3, 3, 8, 8)), jnp.float32)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))

    def loss(k, image):
        return jnp.sum(jnp.sin(plain(image[None], k, padding="SAME")))

    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))
    found, right = each(k, jax.device_put(x, NamedSharding(mesh, P("d")))), each(k, x)
    assert not np.allclose(found, right, atol=1e-2)
