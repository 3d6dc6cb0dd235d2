"""Folded and reparameterized networks compute the same values as before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import SMALLEST

import jds


def trained(name, param_dtype=jnp.float32, **options):
    """A network in evaluation mode with statistics and scales like those of a trained one."""
    model = jds.create_model(name, num_classes=7, param_dtype=param_dtype, **SMALLEST[name] | options)
    rng = np.random.default_rng(0)
    state = list(nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))))
    for path, variable in state:
        array, last = np.asarray(variable.get_value()), path[-1]
        if array.ndim < 2:
            low, high = {"var": (0.5, 1.5), "scale": (0.8, 1.2)}.get(last, (-0.1, 0.1))
            array = rng.uniform(low, high, array.shape).astype(array.dtype)
        else:
            array = (array * 2**0.5).astype(array.dtype)
        variable.set_value(jax.device_put(array))
    nnx.update(model, nnx.from_flat_state(state))
    model.eval()
    return model


def run(model, images):
    return nnx.jit(lambda model, images: model(images))(model, images)


def norms(model):
    return sum(isinstance(module, nnx.BatchNorm) for _, module in nnx.iter_modules(model))


@pytest.mark.parametrize("name", SMALLEST)
def test_values_are_kept_in_float32(name, quick_compilation):
    transform = jds.reparameterize if name.startswith("mobileone") else jds.fold_batch_norm
    model = trained(name)
    images = jnp.asarray(np.random.default_rng(1).standard_normal((2, 47, 33, 3)), jnp.float32)
    wanted = run(model, images)
    assert jnp.linalg.norm(wanted[0] - wanted[1]) > 0.01 * jnp.linalg.norm(
        wanted
    )  # the logits depend on the image, not only on biases
    changed = transform(model)
    assert norms(changed) == name.count("hybrid")  # its attention normalizes before two branches
    found = run(changed, images)
    assert jnp.linalg.norm(found - wanted) < 1e-4 * jnp.linalg.norm(wanted)


@pytest.mark.parametrize("name", ["mobileone_s0", "mobilenetv2_035"])
def test_values_are_kept_in_float64(name, quick_compilation):
    # The normalizations stay in float32.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        model = trained(name, jnp.float64)
        images = jnp.asarray(np.random.default_rng(1).standard_normal((2, 47, 33, 3)), jnp.float64)
        wanted, found = run(model, images), run(jds.reparameterize(model), images)
        assert found.dtype == jnp.float64
        assert jnp.linalg.norm(found - wanted) < 1e-12 * jnp.linalg.norm(wanted)


def test_each_block_becomes_one_convolution():
    model = trained("mobileone_s0")
    one = jds.reparameterize(model)
    blocks = [module for _, module in nnx.iter_modules(one) if isinstance(module, jds.nn.MobileOneBlock)]
    assert all((len(block.branches), block.scale, block.identity) == (1, None, None) for block in blocks)
    assert norms(one) == 0
    assert jds.count_parameters(one) < jds.count_parameters(model) / 2
    # The model itself is unchanged.
    assert len(model.stages[0][0].branches) == 4


def test_branches_with_different_centers_are_refused():
    model = trained("mobileone_s0", padding="SAME")
    with pytest.raises(ValueError, match=r"reparameterize: the branches of .* have strides and padding 'SAME'"):
        jds.reparameterize(model)
