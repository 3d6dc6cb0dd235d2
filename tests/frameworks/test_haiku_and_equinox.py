"""Haiku and Equinox networks with grouped convolutions: forward pass and one training step."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from programs import without_attribute

import jds
from jds import cost

pytestmark = pytest.mark.usefixtures("quick_compilation")

IMAGES = (4, 12, 12, 3)


def haiku_network(images, is_training):
    """Every kind of depthwise convolution in Haiku, in both layouts."""
    x = jax.nn.relu(hk.Conv2D(8, 3, stride=2)(images))
    x = hk.DepthwiseConv2D(2, 3)(x)
    x = hk.BatchNorm(True, True, 0.9)(jax.nn.relu(hk.Conv2D(16, 1, with_bias=False)(x)), is_training)
    x = hk.Conv2D(16, 3, feature_group_count=16)(x)
    x = hk.SeparableDepthwiseConv2D(1, 3)(x).transpose(0, 3, 1, 2)
    x = hk.Conv2D(8, 1, data_format="NCHW")(jnp.tanh(x))
    x = hk.Conv2D(8, 3, 2, feature_group_count=8, data_format="NCHW")(x)
    return hk.Linear(10)(x.mean((2, 3)))


class EquinoxNetwork(eqx.Module):
    """Equinox's convolutions are channels first, without a batch axis."""

    layers: list
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 5)
        self.layers = [
            eqx.nn.Conv2d(3, 8, 3, 2, padding=1, key=keys[0]),
            eqx.nn.Conv2d(8, 16, 3, padding=1, groups=8, key=keys[1]),
            jax.nn.relu,
            eqx.nn.Conv2d(16, 12, 1, use_bias=False, key=keys[2]),
            jnp.tanh,
            eqx.nn.ConvTranspose2d(12, 12, 2, 2, groups=12, key=keys[3]),
        ]
        self.head = eqx.nn.Linear(12, 10, key=keys[4])

    def __call__(self, image):
        for layer in self.layers:
            image = layer(image)
        return self.head(image.mean((1, 2)))


def cross_entropy(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(len(logits))).mean()


def haiku_programs():
    """Forward pass and training step, each with its arguments."""
    network = hk.transform_with_state(haiku_network)
    images = jnp.asarray(np.random.default_rng(0).standard_normal(IMAGES))
    parameters, state = jax.jit(network.init, static_argnums=2)(jax.random.key(0), images, True)

    def step(parameters, state, images):
        def loss(parameters):
            logits, new_state = network.apply(parameters, state, None, images, True)
            return cross_entropy(logits), new_state

        (value, new_state), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
        return value, new_state, optax.apply_updates(parameters, jax.tree.map(lambda g: -0.1 * g, gradients))

    def forward(parameters, state, images):
        return network.apply(parameters, state, None, images, is_training=False)

    return (forward, step), (parameters, state, images)


def equinox_programs():
    """Forward pass and training step, each with its arguments."""
    model = eqx.filter_jit(EquinoxNetwork)(jax.random.key(0))
    images = jnp.asarray(np.random.default_rng(0).standard_normal(IMAGES)).transpose(0, 3, 1, 2)

    def forward(model, images):
        return jax.vmap(model)(images)

    def step(model, images):
        def loss(model):
            return cross_entropy(jax.vmap(model)(images))

        value, gradients = eqx.filter_value_and_grad(loss)(model)
        return value, eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, gradients))

    return (forward, step), (model, images)


# For each network, its programs and the number of ordinary convolutions in them: the first layer and its gradient.
NETWORKS = {"haiku": haiku_programs, "equinox": equinox_programs}


def lowered_in_each_way(program, arguments):
    yield jds.accelerate(eqx.filter_jit(program)).lower(*arguments)
    yield eqx.filter_jit(jds.accelerate(program)).lower(*arguments)
    jds.install()
    try:
        yield eqx.filter_jit(program).lower(*arguments)
    finally:
        jds.uninstall()


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_and_one_training_step_are_replaced_and_keep_their_values(name):
    with jax.enable_x64(True):
        programs, arguments = NETWORKS[name]()
        for program, ordinary in zip(programs, (1, 2), strict=True):
            plain = eqx.filter_jit(program).lower(*arguments)
            assert plain.as_text().count("stablehlo.convolution") > 3 * ordinary
            ways = list(lowered_in_each_way(program, arguments))
            texts = {without_attribute(lowered.as_text()) for lowered in ways}
            assert len(texts) == 1
            assert texts.pop().count("stablehlo.convolution") == ordinary
            got, want = (eqx.filter(each.compile()(*arguments), eqx.is_array) for each in (ways[0], plain))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), got, want)


@pytest.mark.parametrize("name", NETWORKS)
def test_their_cost_is_counted_completely(name):
    (forward, step), arguments = NETWORKS[name]()
    forward, step = (cost.analyze(program, *arguments, parameter_argnums=0) for program in (forward, step))
    assert forward.total.unknown == step.total.unknown == {}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(arguments[0], eqx.is_inexact_array)))
    assert forward.total.parameters == parameters
    macs = {row.name: row.macs for row in forward.by("kind") if row.macs}
    assert {"ordinary", "depthwise", "pointwise"} <= macs.keys()
    # Without the gradient of the images.
    assert 1.5 < step.backward_to_forward < 2


@pytest.mark.parametrize("name", NETWORKS)
def test_the_report_counts_them(name):
    (_, step), arguments = NETWORKS[name]()
    report = jds.acceleration_report(step, *arguments, platform="cpu")
    assert {row.form for row in report.left} == {"ordinary kernel gradient"}
    assert sum(row.calls for row in report.left) == 1  # the first layer's
    assert {"depthwise", "depthwise kernel gradient", "pointwise kernel gradient"} <= {
        row.form for row in report.replaced
    }
    # Layers have the names that Haiku gives them, and the paths that they have in an Equinox module.
    assert any(("conv2_d" if name == "haiku" else "layers/1 at ") in row.places[0] for row in report.replaced)
