"""A frozen model computes what the model computes, with its weights as constants."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import SMALLEST

import jds
from jds import cost

IMAGES = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)


def network(name="mobilenetv3_small_050"):
    return jds.create_model(name, num_classes=5, **SMALLEST[name], rngs=nnx.Rngs(0))


def images(seed=0):
    return np.random.default_rng(seed).standard_normal(IMAGES.shape).astype(np.float32)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "mobileone_s0"])
def test_it_computes_what_the_model_does_in_evaluation_mode(name):
    model = network(name)
    run, maps = jds.freeze(model), jds.freeze(model.features)
    model.eval()
    reference = nnx.jit(lambda model, x: (model(x), model.features(x)))
    for x in (images(), images()[:1]):
        wanted, wanted_maps = reference(model, x)
        np.testing.assert_allclose(run(x), wanted, rtol=1e-4, atol=1e-5)
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4), maps(x), wanted_maps
        )


def test_its_program_has_no_arguments_but_the_images_and_no_normalizations():
    model = network()
    run = jds.freeze(model)
    (argument,) = jax.tree.leaves(run.lower(IMAGES).in_avals)
    assert argument.shape == IMAGES.shape
    assert "rsqrt" not in str(run.trace(IMAGES).jaxpr)


def test_later_changes_of_the_model_do_not_change_it():
    model = network()
    run = jds.freeze(model)
    assert not model.stem.norm.use_running_average  # it is as it was
    before = np.asarray(run(images()))
    model.classifier.kernel[...] = jnp.zeros_like(model.classifier.kernel[...])
    np.testing.assert_array_equal(run(images()), before)
    np.testing.assert_array_equal(run(images(1)[:1]).shape, (1, 5))  # compiled after the change
    assert np.asarray(run(images(1)[:1])).any()


def test_costs_and_exports_see_the_plain_layers(tmp_path):
    model = network()
    run = jds.freeze(model)
    model.eval()
    frozen, plain = cost.analyze(run, IMAGES), cost.analyze(jds.fold_batch_norm(model), IMAGES)
    assert [row.name for row in frozen.by("layer")] == [row.name for row in plain.by("layer")]
    assert frozen.total.counts == plain.total.counts
    assert frozen.total.parameters == plain.total.parameters > 1000
    jds.export(run, tmp_path / "model.jax", images())


def test_what_cannot_be_frozen_is_refused(unchecked_types):
    for wrong in (len, [].append, 3):
        message = f"freeze: `model` must be an nnx.Module or a method of one, got {wrong!r}"
        with pytest.raises(TypeError, match=re.escape(message)):
            jds.freeze(wrong)
    with pytest.raises(TypeError, match=r"save the network that was given to `jds\.freeze`"):
        jds.save_weights(jds.freeze(network()), "a.safetensors")
