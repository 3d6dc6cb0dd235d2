"""The closed forms against the convolutions that jds actually runs."""

import functools
import math

import hypothesis
import jax
import jax.numpy as jnp
import pytest
from hypothesis import strategies as st

import jds
from jds import cost
from jds.cost import Layer, LayerStep

TEXTBOOK = Layer("textbook", (6, 6, 3), 5, (3, 3), padding="VALID")


@st.composite
def sizes_of_a_layer(draw):
    rank = draw(st.integers(1, 3))

    def sizes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    pads = tuple(zip(sizes(0, 2), sizes(0, 2), strict=True))
    return {
        "input_size": (*sizes(1, 9), draw(st.integers(1, 6))),
        "out_features": draw(st.integers(1, 7)),
        "kernel_size": sizes(1, 4),
        "strides": draw(st.sampled_from([1, 2, sizes(1, 3)])),
        "padding": draw(st.sampled_from(["SAME", "SAME_LOWER", "VALID", pads])),
        "kernel_dilation": draw(st.sampled_from([1, 2, sizes(1, 3)])),
        "channel_multiplier": draw(st.integers(1, 3)),
    }


def steps_of(fun, *shapes):
    """Reads (filter parameters, positions, filters) from the convolutions of a program."""
    jaxpr = jax.make_jaxpr(fun)(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    steps = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
            steps.append((math.prod(kernel[:-1]), math.prod(out[:-1]), kernel[-1]))
    return steps


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(sizes_of_a_layer(), st.integers(1, 3))
def test_closed_forms_match_the_convolutions(sizes, batch):
    try:
        layer = Layer("any", **sizes)
    except ValueError:  # the output would be empty
        hypothesis.reject()
    options = {"strides": layer.strides, "padding": layer.padding, "kernel_dilation": layer.kernel_dilation}
    ordinary, separable = (functools.partial(fun, **options) for fun in (jds.conv, jds.separable_conv))
    between = layer.in_features * layer.channel_multiplier
    inputs = (batch, *layer.input_size)
    kernel = (*layer.kernel_size, layer.in_features, layer.out_features)
    kernels = (*layer.kernel_size, 1, between), (*[1] * len(layer.kernel_size), between, layer.out_features)

    assert [tuple(step[1:]) for step in layer.ordinary_steps(batch)] == steps_of(ordinary, inputs, kernel)
    assert [tuple(step[1:]) for step in layer.separable_steps(batch)] == steps_of(separable, inputs, *kernels)
    for fun, shapes in ((ordinary, (inputs, kernel)), (separable, (inputs, *kernels))):
        out = jax.eval_shape(fun, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
        assert out.shape == (batch, *layer.output_size)

    assert cost.multiplications(layer, batch=batch).ratio == layer.ratio
    assert sum(step.weights for step in layer.ordinary_steps()) == math.prod(kernel)
    assert sum(step.weights for step in layer.separable_steps()) == sum(map(math.prod, kernels))


def test_the_textbook_example_counts_2160_against_672():
    assert TEXTBOOK.ordinary_steps() == (LayerStep("ordinary", 27, 16, 5),)
    assert TEXTBOOK.separable_steps() == (LayerStep("depthwise", 9, 16, 3), LayerStep("pointwise", 3, 16, 5))
    assert cost.multiplications(TEXTBOOK) == (2160, 672)
    assert float(TEXTBOOK.ratio) == pytest.approx(1 / 5 + 1 / 3**2)


def test_a_layer_that_is_not_separable_is_the_same_in_both_forms():
    layer = Layer("stem", (6, 6, 3), 5, (3, 3), separable=False)
    assert layer.separable_steps() == layer.ordinary_steps()
    assert layer.ratio == cost.multiplications(layer).ratio == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": (3,)}, "`kernel_size` must have 1, 2 or 3 entries, and `input_size` one more"),
        ({"kernel_size": (), "input_size": (3,)}, "`kernel_size` must have 1, 2 or 3 entries"),
        ({"out_features": 0}, "`out_features` and `channel_multiplier` must be positive, got .* 0 and 1"),
        ({"strides": (1, 0)}, r"`strides` must be a positive int, .* each of the 2 spatial axes, got \(1, 0\)"),
        ({"kernel_dilation": (2,)}, r"`kernel_dilation` must be .* each of the 2 spatial axes, got \(2,\)"),
        ({"kernel_size": (7, 7), "padding": "VALID"}, r"the output would be empty, \(0, 0, 5\)"),
    ],
)
def test_wrong_sizes_are_refused(arguments, message):
    sizes = {"input_size": (6, 6, 3), "out_features": 5, "kernel_size": (3, 3)}
    with pytest.raises(ValueError, match=message):
        Layer("wrong", **sizes | arguments)
