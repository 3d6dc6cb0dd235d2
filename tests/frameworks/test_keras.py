"""`keras.applications.MobileNet` on Keras's JAX backend: called, in `predict`, `fit` and `stateless_call`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jds
from jds.ops import _dispatch

pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

IMAGES = np.random.default_rng(0).standard_normal((4, 64, 64, 3)).astype(np.float32)
LABELS = np.arange(4, dtype=np.int32)


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """Keras on JAX, regardless of the user's settings."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KERAS_BACKEND", "jax")
        environment.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        import keras
    assert keras.config.backend() == "jax"
    return keras


@pytest.fixture
def model(keras):
    """A model that returns logits, because untrained probabilities are all nearly equal."""
    network = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, include_top=False, pooling="avg")
    return keras.Sequential([network, keras.layers.Dense(10)])


@pytest.fixture
def chosen(monkeypatch):
    """The forms that were lowered, and the implementations chosen for them."""
    choices = []
    choose = _dispatch.choose

    def spy(form, *args, **kwargs):
        choices.append((form, choose(form, *args, **kwargs)))
        return choices[-1][1]

    monkeypatch.setattr(_dispatch, "choose", spy)
    return choices


def assert_replaced(chosen, kinds, left=()):
    """Everything except `left` was replaced, including these forms."""
    assert {(form.kind, form.short) for form, choice in chosen if choice.implementation == "xla"} == set(left)
    assert {str(form) for form, choice in chosen if choice.implementation != "xla"} >= kinds
    chosen.clear()


def assert_close(got, want, tolerance=1e-4):
    want = np.asarray(want)
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())


def values(variables):
    return [variable.value for variable in variables]


def test_inference_is_replaced_and_keeps_its_values(model, chosen):
    want = model.predict(IMAGES, verbose=0)
    assert not chosen
    assert_close(jds.accelerate(model)(IMAGES), want)
    assert_replaced(chosen, {"depthwise", "pointwise"})
    assert "stablehlo.convolution" in jax.jit(model).lower(IMAGES).as_text()
    assert not chosen
    jds.install()
    try:
        assert_close(model.predict(IMAGES, verbose=0), want)
    finally:
        jds.uninstall()
    assert_replaced(chosen, {"depthwise", "pointwise"})
    report = jds.acceleration_report(model, jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32), platform="cpu")
    assert not report.left
    found = jds.cost.analyze(model, jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32))
    assert found.total.unknown == {}
    assert found.total.parameters == model.count_params()
    assert {row.name for row in found.by("kind") if row.macs} == {"ordinary", "depthwise", "pointwise", "dense"}


def test_training_is_replaced_and_keeps_its_values(keras, model, chosen):
    variables = values(model.trainable_variables), values(model.non_trainable_variables)

    @jax.jit
    def forward(trainable, others, images):
        return model.stateless_call(trainable, others, images, training=True)

    want, want_state = forward(*variables, IMAGES)
    assert not chosen
    got, got_state = jds.accelerate(forward)(*variables, IMAGES)
    assert_replaced(chosen, {"depthwise", "pointwise"})
    assert_close(got, want, 1e-3)
    for a, b in zip(got_state, want_state, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    # The losses of later steps drift apart: batch norm over so few images is ill-conditioned.
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    jds.install()
    try:
        history = model.fit(IMAGES, LABELS, batch_size=len(IMAGES), epochs=2, verbose=0).history
    finally:
        jds.uninstall()
    forms = {"depthwise", "pointwise", "depthwise kernel gradient", "pointwise kernel gradient"}
    assert_replaced(chosen, forms, left=[("ordinary", "output")])  # the first layer's kernel gradient
    log_likelihoods = jax.nn.log_softmax(want)[jnp.arange(len(LABELS)), LABELS]
    np.testing.assert_allclose(history["loss"][0], -log_likelihoods.mean(), rtol=1e-3)
    assert history["loss"][1] != history["loss"][0]
    assert np.isfinite(history["loss"]).all()
