"""The smallest network of each family learns, is traced once, and has no grouped convolution left."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jds
from jds.ops import library

SMALLEST = """
    mobilenetv2_035 mobilenetv3_small_050 mobilenetv4_conv_small_035 efficientnet_lite0 mnasnet_small mixnet_s
    legacy_xception convnext_atto mobileone_s1
"""


@pytest.fixture(autouse=True)
def lenient_promotion():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.skipif(bool(library.fault()), reason="without CPU kernels such programs take minutes to compile")
@pytest.mark.parametrize("name", SMALLEST.split())
def test_a_training_step(name, quick_compilation):
    model = jds.create_model(name, num_classes=4, drop_path=0.1, dtype=jnp.float32)
    optimizer = nnx.Optimizer(model, optax.adam(3e-4), wrt=nnx.Param)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 64, 64, 3)), jnp.float32)
    labels = jnp.arange(4)

    @nnx.jit
    @chex.assert_max_traces(1)
    def step(model, optimizer, images, labels):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    chex.clear_trace_counter()
    losses = [float(step(model, optimizer, images, labels)) for _ in range(6)]
    assert min(losses[3:]) < losses[0]
    chex.clear_trace_counter()
    text = step.lower(model, optimizer, images, labels).as_text()
    assert not [n for n in re.findall(r"(?:feature|batch)_group_count = (\d+)", text) if n != "1"]


def test_half_precision_keeps_float32_parameters(quick_compilation):
    model = jds.create_model("mobilenetv2_035", num_classes=4, dtype=jnp.bfloat16)
    model.eval()
    out = nnx.jit(lambda model, images: model(images))(model, jnp.ones((1, 32, 32, 3)))
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {jnp.dtype("float32")}
    full = jds.create_model("mobilenetv2_035", num_classes=4)
    full.eval()
    wanted = full(jnp.ones((1, 32, 32, 3)))
    assert jnp.linalg.norm(out - wanted) < 0.05 * jnp.linalg.norm(wanted)
