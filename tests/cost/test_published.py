"""The layers of MobileNet V1 against the model itself and against the figures of its paper."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jds import cost
from jds.models import MobileNetV1, mobilenet_v1

PUBLISHED = json.loads((Path(__file__).parents[1] / "data/published_costs.json").read_text())["mobilenet_v1"]


class Millions(NamedTuple):
    ordinary: float
    separable: float


def model(**options):
    return nnx.eval_shape(lambda: MobileNetV1(**options, rngs=nnx.Rngs(0)))


def equations(jaxpr):
    for equation in jaxpr.eqns:
        inner = [value.jaxpr for value in equation.params.values() if hasattr(value, "jaxpr")]
        yield equation
        for nested in inner:
            yield from equations(nested)


def steps_of(jaxpr):
    """Reads (filter parameters, positions, filters) off the convolutions and matrix products of a program."""
    for equation in equations(jaxpr):
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            weights, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
            yield math.prod(weights[:-1]), math.prod(out[:-1]), weights[-1]


@pytest.mark.parametrize("separable", [True, False])
def test_layers_are_the_equations_of_the_model(separable):
    options = {"width": 0.5, "num_classes": 10, "stem_stride": 1}
    network = model(**options, separable=separable)
    network.eval()
    graph, state = nnx.split(network)
    images = jax.ShapeDtypeStruct((2, 40, 40, 3), jnp.float32)
    jaxpr = jax.make_jaxpr(lambda state, images: nnx.merge(graph, state)(images))(state, images)

    layers = mobilenet_v1.layers(image_size=40, **options)
    forms = [layer.separable_steps(2) if separable else layer.ordinary_steps(2) for layer in layers]
    found = list(steps_of(jaxpr.jaxpr))
    assert found == [tuple(step[1:]) for steps in forms for step in steps]
    assert sum(map(math.prod, found)) == cost.multiplications(layers, batch=2)[separable]


@pytest.mark.parametrize("row", PUBLISHED["width_at_224"], ids=lambda row: str(row["width"]))
def test_mult_adds_and_parameters_by_width(row):
    assert round(millions(width=row["width"]).separable) == row["macs"]
    assert round(parameters(width=row["width"]), 1) == row["params"]


@pytest.mark.parametrize("row", PUBLISHED["resolution_at_width_1"], ids=lambda row: str(row["image_size"]))
def test_mult_adds_by_resolution(row):
    macs = millions(image_size=row["image_size"]).separable
    # Table 7 truncates 290.68 and rounds the others.
    assert row["macs"] == (int(macs) if row["image_size"] == 160 else round(macs))


def test_twin_of_ordinary_convolutions():
    published = PUBLISHED["table_4_full_convolution"]
    # The 4866 leave the classifier out, while 569 counts it.
    assert round(millions(num_classes=0).ordinary) == published["macs"]
    assert [round(count, 2) for count in millions()] == [4867.29, 568.74]
    assert round(parameters(separable=False), 1) == published["params"]


def test_shares_of_table_2():
    mults = dict.fromkeys(("pointwise", "depthwise", "conv_3x3", "fully_connected"), 0)
    weights = dict(mults)
    for layer in mobilenet_v1.layers():
        for step in layer.separable_steps():
            name = {"stem": "conv_3x3", "classifier": "fully_connected"}.get(layer.name, step.name)
            mults[name] += step.multiplications
            weights[name] += step.weights
    # The printed 1.19 is a misprint of 1.91: the column sums to 99.29.
    published = PUBLISHED["table_2_macs_percent"] | {"conv_3x3": 1.91}
    for name in mults:
        assert 100 * mults[name] / sum(mults.values()) == pytest.approx(published[name], abs=0.006)
        share = 100 * weights[name] / sum(weights.values())
        assert share == pytest.approx(PUBLISHED["table_2_params_percent"][name], abs=0.011)


def millions(**options):
    """Millions of multiplications of the layers."""
    ordinary, separable = cost.multiplications(mobilenet_v1.layers(**options))
    return Millions(ordinary / 1e6, separable / 1e6)


def parameters(**options):
    """Millions of parameters of the model itself."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model(**options), nnx.Param))) / 1e6
