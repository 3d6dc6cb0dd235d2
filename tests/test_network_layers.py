"""The layers of public networks: their separable forms add up to the network."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jds
from jds import compare, cost
from jds.models import MobileNetV1, MobileNetV1Config

FAMILIES = [
    "mobilenetv1_100", "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium_075", "efficientnet_b0", "efficientnet_lite0", "mnasnet_small", "semnasnet_050", "mixnet_s",
    "legacy_xception", "convnext_atto", "mobileone_s0", "keras/MobileNet",
]  # fmt: skip


def network(name):
    """A network as it runs for inference: with MobileOne's branches merged into single convolutions."""
    if not name.startswith("mobileone"):
        return nnx.eval_shape(lambda: jds.create_model(name))
    model = jds.create_model(name)
    model.eval()
    return jds.reparameterize(model)


def counted(model, size):
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return cost.analyze(lambda model, images: model(images), model, images)


@pytest.mark.parametrize("name", FAMILIES)
def test_separable_forms_have_the_multiplications_of_the_network(name):
    model = network(name)
    model.eval()
    found = counted(model, model.preprocessing.image_size)
    layers, kinds = compare.analyzed_layers(found), found.by("kind")
    own = sum(row.multiplications for row in kinds if row.name != "batched")
    assert cost.multiplications(layers).separable == own
    assert len({layer.name for layer in layers}) == len(layers)
    # Every depthwise layer is paired with the pointwise layer after it.
    assert [layer.name for layer in layers if layer.feature_group_count > 1] == []
    assert sum(layer.separable for layer in layers) >= 5


def test_the_layers_of_mobilenet_v1_are_those_of_the_paper():
    layers = compare.network_layers(network("mobilenetv1_100"))
    rows = [(32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    size, expected = (224, 224, 3), []
    for number, (features, strides) in enumerate(rows):
        expected.append(cost.Layer("", size, features, (3, 3), strides=strides, separable=number > 0))
        size = expected[-1].output_size
    expected.append(cost.Layer("", (1, 1, 1024), 1000, (1, 1), separable=False))
    # timm pads strided filters on both sides, which does not change sizes or numbers of positions.
    assert [layer.padding for layer in layers if layer.strides == 2] == [((1, 1), (1, 1))] * 5
    assert [dataclasses.replace(layer, name="", padding="SAME") for layer in layers] == expected
    assert [layer.name for layer in layers] == [
        "stem/conv", "stages/0/0", "stages/1/0", "stages/1/1", "stages/2/0", "stages/2/1",
        *(f"stages/3/{i}" for i in range(6)), "stages/4/0", "stages/4/1", "classifier",
    ]  # fmt: skip
    assert cost.multiplications(layers) == (4_867_293_184, 568_740_352)


def test_the_ordinary_form_is_the_network_of_ordinary_convolutions_in_the_paper():
    options = {"width": 0.25, "num_classes": 10, "output_stride": 16}
    networks = [
        nnx.eval_shape(lambda form=form: MobileNetV1(MobileNetV1Config(separable=form, **options), rngs=nnx.Rngs(0)))
        for form in (True, False)
    ]
    layers = compare.network_layers(networks[0], 96)
    assert {layer.kernel_dilation for layer in layers} == {1, 2}
    for model, form in zip(networks, ("separable", "ordinary"), strict=True):
        model.eval()
        assert getattr(cost.multiplications(layers), form) == counted(model, 96).total.multiplications


def test_each_kernel_size_is_a_separate_layer():
    layers = compare.network_layers(network("mixnet_s"))
    mixed = [layer for layer in layers if layer.name.startswith("stages/1/0/") and layer.separable]
    assert [layer.kernel_size for layer in mixed] == sorted(layer.kernel_size for layer in mixed)
    # If the pointwise half has two parts as well, each part has its own channels.
    assert {layer.in_features for layer in mixed} != {mixed[0].in_features * len(mixed)}
    assert {layer.input_size[:2] for layer in mixed} == {mixed[0].input_size[:2]}


class Block(nnx.Module):
    """A depthwise convolution with two pointwise ones after it, and a grouped convolution."""

    def __init__(self, rngs):
        self.depthwise = nnx.Conv(4, 8, (3, 3), feature_group_count=4, rngs=rngs)
        self.one, self.other = (nnx.Conv(8, 6, (1, 1), rngs=rngs) for _ in range(2))
        self.grouped = nnx.Conv(6, 6, (3, 3), feature_group_count=2, rngs=rngs)

    def __call__(self, x):
        x = self.depthwise(x)
        return self.grouped(self.one(x) + self.other(x))


def test_layers_without_a_partner_are_kept_unpaired():
    block = nnx.eval_shape(lambda: Block(nnx.Rngs(0)))
    found = cost.analyze(block, jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32))
    layers = compare.analyzed_layers(found)
    assert [(layer.name, layer.feature_group_count, layer.separable) for layer in layers] == [
        ("depthwise", 4, False), ("one", 1, False), ("other", 1, False), ("grouped", 2, False),
    ]  # fmt: skip
    steps = [step for layer in layers for step in layer.separable_steps()]
    assert [step.name for step in steps] == ["depthwise", "ordinary", "ordinary", "grouped"]
    assert sum(step.multiplications for step in steps) == found.total.multiplications
    measured = compare.compare_layer(layers[-1], seconds=0.0)
    assert measured.multiplications.ordinary == 64 * 9 * 3 * 6
    assert math.isclose(measured.time_ratio().median, 1.0)
