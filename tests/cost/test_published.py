"""The layers of MobileNet V1 against the model itself and against the figures of its paper."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jds import compare, cost
from jds.models import MobileNetV1, MobileNetV1Config

PUBLISHED = json.loads((Path(__file__).parents[1] / "data/published_costs.json").read_text())["mobilenet_v1"]


def model(**options):
    network = nnx.eval_shape(lambda: MobileNetV1(MobileNetV1Config(**options), rngs=nnx.Rngs(0)))
    network.eval()
    return network


def count(*, batch=1, image_size=224, **options):
    images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.float32)
    return cost.analyze(model(**options), images)


@pytest.mark.parametrize("separable", [True, False])
def test_layers_match_the_equations_of_the_model(separable):
    options = {"width": 0.5, "num_classes": 10, "stem_stride": 1}
    layers = compare.network_layers(model(**options), 40)
    forms = [layer.separable_steps(2) if separable else layer.ordinary_steps(2) for layer in layers]
    found = count(batch=2, image_size=40, separable=separable, **options)
    rows = [row.multiplications for row in found.by("layer") if row.multiplications]
    assert rows == [step.multiplications for steps in forms for step in steps]
    assert found.total.macs == cost.multiplications(layers, batch=2)[separable]


@pytest.mark.parametrize("row", PUBLISHED["width_at_224"], ids=lambda row: str(row["width"]))
def test_mult_adds_and_parameters_by_width_are_those_of_the_paper(row):
    total = count(width=row["width"]).total
    assert round(total.multiplications / 1e6) == row["macs"]
    assert round(total.parameters / 1e6, 1) == row["params"]


@pytest.mark.parametrize("row", PUBLISHED["resolution_at_width_1"], ids=lambda row: str(row["image_size"]))
def test_mult_adds_by_resolution_are_those_of_the_paper(row):
    macs = count(image_size=row["image_size"]).total.multiplications / 1e6
    # Table 7 truncates 290.68 and rounds the others.
    assert row["macs"] == (int(macs) if row["image_size"] == 160 else round(macs))


def test_the_network_of_ordinary_convolutions_has_the_figures_of_table_4():
    published = PUBLISHED["table_4_full_convolution"]
    # The printed 4866 excludes the classifier, while 569 includes it.
    assert round(count(separable=False, num_classes=0).total.macs / 1e6) == published["macs"]
    assert [round(count(separable=form).total.macs / 1e6, 2) for form in (False, True)] == [4867.29, 568.74]
    assert round(count(separable=False).total.parameters / 1e6, 1) == published["params"]


def test_shares_of_the_kinds_are_those_of_table_2():
    names = {"pointwise": "pointwise", "depthwise": "depthwise", "ordinary": "conv_3x3", "dense": "fully_connected"}
    rows = {names[row.name]: row for row in count().by("kind") if row.macs}
    # The printed 1.19 is a misprint of 1.91: the column sums to 99.29.
    published = PUBLISHED["table_2_macs_percent"] | {"conv_3x3": 1.91}
    for name, row in rows.items():
        assert 100 * row.macs / sum(row.macs for row in rows.values()) == pytest.approx(published[name], abs=0.006)
        # Neither these kinds nor the table include the normalizations' parameters and the classifier's bias.
        share = 100 * row.parameters / sum(row.parameters for row in rows.values())
        assert share == pytest.approx(PUBLISHED["table_2_params_percent"][name], abs=0.011)
