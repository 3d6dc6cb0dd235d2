"""A network with each kind of block learns, is traced once, and has no grouped convolution left."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from networks import SMALLEST

import jds
from checks import training_steps
from jds.ops.native import _library


@pytest.fixture(autouse=True)
def lenient_promotion():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.skipif(bool(_library.fault()), reason="without CPU kernels such programs take minutes to compile")
@pytest.mark.parametrize("name", SMALLEST)
def test_a_training_step_is_right(name, quick_compilation):
    result = training_steps.train(name, **SMALLEST[name])
    assert training_steps.is_right(result), result


def test_half_precision_keeps_float32_parameters(quick_compilation):
    model = jds.create_model("mobilenetv2_035", num_classes=4, dtype=jnp.bfloat16, **SMALLEST["mobilenetv2_035"])
    model.eval()
    out = nnx.jit(lambda model, images: model(images))(model, jnp.ones((1, 32, 32, 3)))
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {jnp.dtype("float32")}
    full = jds.create_model("mobilenetv2_035", num_classes=4, **SMALLEST["mobilenetv2_035"])
    full.eval()
    wanted = nnx.jit(lambda model, images: model(images))(full, jnp.ones((1, 32, 32, 3)))
    assert jnp.linalg.norm(out - wanted) < 0.05 * jnp.linalg.norm(wanted)
