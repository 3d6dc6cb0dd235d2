"""MobileNet V1 and the same network with ordinary convolutions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jds.models import MobileNetV1, MobileNetV1Config
from jds.models._inverted_stages import round_features
from jds.ops.native import _library


def abstract(**options):
    return nnx.eval_shape(lambda: MobileNetV1(MobileNetV1Config(**options), rngs=nnx.Rngs(0)))


def parameters(model) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({}, 4_231_976),  # as in the public checkpoint mobilenetv1_100
        ({"separable": False}, 29_294_088),
        ({"num_classes": 0}, 4_231_976 - 1024 * 1000 - 1000),
        ({"in_features": 1}, 4_231_976 - 2 * 9 * 32),
    ],
)
def test_the_number_of_parameters_is_that_of_public_networks(options, number):
    assert parameters(abstract(**options)) == number


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (224, 224)])
def test_any_image_size_is_accepted(size, separable):
    model = abstract(width=0.25, num_classes=7, separable=separable)
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    assert nnx.eval_shape(lambda m, x: m(x), model, images).shape == (2, 7)


def test_without_a_classifier_the_features_are_returned():
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    assert nnx.eval_shape(lambda m, x: m(x), abstract(num_classes=0), images).shape == (2, 1024)


def test_rounding_is_that_of_the_authors():
    assert [round_features(f) for f in (1.0, 8.0, 11.0, 12.0, 24.0, 25.6, 32 * 0.35, 1024 * 1.4)] == [
        8,
        8,
        16,
        16,
        24,
        24,
        16,
        1432,
    ]


def test_initial_weights_have_the_variance_of_their_fan_in():
    model = MobileNetV1(MobileNetV1Config(num_classes=10), rngs=nnx.Rngs(0))
    other = MobileNetV1(MobileNetV1Config(num_classes=10), rngs=nnx.Rngs(1))
    block = model.stages[-1][-1]
    for kernel, fan_in in (
        (block.depthwise.kernel, 9),
        (block.pointwise.kernel, 1024),
        (model.classifier.kernel, 1024),
    ):
        np.testing.assert_allclose(kernel[...].std(), fan_in**-0.5, rtol=0.05)
        np.testing.assert_allclose(kernel[...].mean(), 0, atol=0.05 * fan_in**-0.5)
    assert not np.array_equal(block.pointwise.kernel, other.stages[-1][-1].pointwise.kernel)
    assert not np.array_equal(block.pointwise.kernel, model.stages[-1][-2].pointwise.kernel)
    assert np.all(block.pointwise_norm.scale[...] == 1)


def test_training_learns_traces_once_and_leaves_evaluation_alone(quick_compilation):
    model = MobileNetV1(MobileNetV1Config(width=0.25, num_classes=4), rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(3e-4), wrt=nnx.Param)
    # With smaller images or longer steps, batch normalization over 8 numbers would make the losses depend on rounding.
    images = jnp.asarray(np.random.default_rng(0).standard_normal((8, 64, 64, 3)), jnp.float32)
    labels = jnp.arange(8) % 4

    @nnx.jit
    @chex.assert_max_traces(1)
    def step(model, optimizer, images, labels):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    chex.clear_trace_counter()
    losses = [step(model, optimizer, images, labels) for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    # Only the first convolution, an ordinary one, is left: its kernel gradient and, without CPU kernels, its forward pass.
    left = step.lower(model, optimizer, images, labels).as_text().count("stablehlo.convolution")
    assert left == (2 if _library.fault() else 1)

    model.eval()
    evaluation_does_not_touch_the_statistics(model, images)


def evaluation_does_not_touch_the_statistics(model, images):
    before = jax.tree.leaves(nnx.state(model))
    run = nnx.jit(lambda model, images: model(images))
    one = run(model, images[:1])
    np.testing.assert_allclose(run(model, images)[:1], one, rtol=1e-4, atol=1e-5)  # no image depends on another
    for a, b in zip(before, jax.tree.leaves(nnx.state(model)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"width": 0}, "MobileNetV1Config: `width` must be positive and finite, got 0"),
        ({"num_classes": -1}, "MobileNetV1Config: `num_classes` must be an int of at least 0, got -1"),
        ({"in_features": 0}, "MobileNetV1Config: `in_features` must be positive, got 0"),
        ({"implementation": "fast"}, "`implementation` must be None or one of"),
    ],
)
def test_wrong_arguments_are_refused(options, text, unchecked_types):
    with pytest.raises(ValueError, match=text):
        MobileNetV1(MobileNetV1Config(**options), rngs=nnx.Rngs(0))
