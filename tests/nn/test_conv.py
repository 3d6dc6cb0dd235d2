"""The modules against `nnx.Conv`, and their checks of arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.nnx import bridge

import jds
from jds.nn._conv import OrdinaryConv

IMAGES = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 8, 4)), jnp.float32)
# Every named and numeric padding that both support, with even kernels and strides.
PADDINGS = ["SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", 2, (1, 2), ((0, 1), (2, 0))]


def same_parameters(ours, theirs):
    """Copies our parameters to `theirs`."""
    theirs.kernel[...] = ours.kernel[...].reshape(theirs.kernel.shape)
    if ours.bias is not None:
        theirs.bias[...] = ours.bias[...]


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize(("kernel_size", "strides"), [((3, 3), 1), ((2, 4), (2, 3))])
def test_depthwise_matches_nnx_conv(padding, strides, kernel_size):
    options = {
        "padding": padding,
        "kernel_dilation": (1, 2),
        "bias_init": nnx.initializers.normal(),
        "rngs": nnx.Rngs(0),
    }
    ours = jds.nn.DepthwiseConv(4, kernel_size, strides=strides, channel_multiplier=2, **options)
    theirs = nnx.Conv(4, 8, kernel_size, strides, feature_group_count=4, **options)
    assert ours.kernel.shape == theirs.kernel.shape
    same_parameters(ours, theirs)
    np.testing.assert_allclose(ours(IMAGES), theirs(IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel_size", [3, 4])
def test_causal_padding_matches_nnx_conv(kernel_size):
    options = {"padding": "CAUSAL", "strides": 2, "kernel_dilation": 2, "rngs": nnx.Rngs(0)}
    ours = jds.nn.DepthwiseConv(4, kernel_size, **options)
    theirs = nnx.Conv(4, 4, kernel_size, feature_group_count=4, **options)
    same_parameters(ours, theirs)
    np.testing.assert_allclose(ours(IMAGES[:, 0]), theirs(IMAGES[:, 0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"strides": (2, 1), "kernel_dilation": (1, 2), "padding": "CIRCULAR"},
        {"input_dilation": 2, "padding": 1, "feature_group_count": 2, "use_bias": False},
        {"dtype": jnp.bfloat16, "preferred_element_type": jnp.float32, "use_bias": False},
    ],
    ids=str,
)
def test_ordinary_matches_nnx_conv(options):
    ours = OrdinaryConv(4, 6, (3, 3), rngs=nnx.Rngs(0), **options)
    theirs = nnx.Conv(4, 6, (3, 3), rngs=nnx.Rngs(0), **options)
    same_parameters(ours, theirs)
    found, wanted = ours(IMAGES), theirs(IMAGES)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_input_dilation_matches_nnx_conv():
    options = {"padding": 1, "input_dilation": 2, "rngs": nnx.Rngs(0)}
    ours = jds.nn.DepthwiseConv(4, (3, 3), **options)
    theirs = nnx.Conv(4, 4, (3, 3), feature_group_count=4, **options)
    same_parameters(ours, theirs)
    np.testing.assert_allclose(ours(IMAGES), theirs(IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": (2, 1)},
        {"use_bias": False},
        {"mask": jnp.eye(4, 6)[None, None]},
        {"dtype": jnp.bfloat16},
        {"dtype": jnp.bfloat16, "preferred_element_type": jnp.float32},
        {"param_dtype": jnp.bfloat16, "dtype": jnp.float32, "precision": "highest"},
    ],
    ids=str,
)
def test_pointwise_matches_nnx_conv(options):
    ours = jds.nn.PointwiseConv(4, 6, rngs=nnx.Rngs(0), **options)
    theirs = nnx.Conv(4, 6, (1, 1), padding="VALID", rngs=nnx.Rngs(0), **options)
    same_parameters(ours, theirs)
    with jax.numpy_dtype_promotion("standard"):
        got, want = ours(IMAGES), theirs(IMAGES)
    assert ours.kernel.dtype == theirs.kernel.dtype
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.astype(jnp.float32), want.astype(jnp.float32), rtol=2e-2, atol=2e-2)


def test_separable_applies_its_parts_in_order():
    block = jds.nn.SeparableConv(
        4,
        6,
        (3, 3),
        strides=2,
        channel_multiplier=2,
        depthwise_norm=nnx.BatchNorm,
        depthwise_activation=jax.nn.relu6,
        pointwise_norm=lambda features, rngs: nnx.GroupNorm(features, num_groups=3, rngs=rngs),
        pointwise_activation=jnp.tanh,
        rngs=nnx.Rngs(0),
    )
    got = block(IMAGES)
    parts = jax.nn.relu6(nnx.BatchNorm(8, rngs=nnx.Rngs(0))(block.depthwise(IMAGES)))
    want = jnp.tanh(block.pointwise_norm(block.pointwise(parts)))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert got.shape == (2, 5, 4, 6)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_separable_and_ordinary_have_equal_shapes(rank):
    x = jnp.ones((2, *(7, 6, 5)[:rank], 4))
    ours = jds.nn.SeparableConv(4, 6, (3,) * rank, strides=2, rngs=nnx.Rngs(0))
    theirs = nnx.Conv(4, 6, (3,) * rank, 2, rngs=nnx.Rngs(0))
    assert ours(x).shape == theirs(x).shape


def test_initial_weights_have_the_variance_of_their_fan_in():
    block = jds.nn.SeparableConv(256, 512, (5, 5), rngs=nnx.Rngs(0))
    # Each output sums over 25 inputs in the depthwise half and over 256 in the pointwise half.
    np.testing.assert_allclose(block.depthwise.kernel[...].std(), 25**-0.5, rtol=0.05)
    np.testing.assert_allclose(block.pointwise.kernel[...].std(), 256**-0.5, rtol=0.05)
    out = block(jax.random.normal(jax.random.key(0), (1, 16, 16, 256)))
    np.testing.assert_allclose(out[0, 4:-4, 4:-4].std(), 1, rtol=0.2)  # away from the padding


def test_norms_may_be_functions_and_paddings_lists():
    block = jds.nn.SeparableConv(
        4,
        6,
        (3, 3),
        padding=[(1, 1), (0, 2)],
        depthwise_norm=lambda features, rngs: jax.nn.standardize,
        rngs=nnx.Rngs(0),
    )
    out = nnx.jit(lambda block, x: block(x))(block, IMAGES)
    np.testing.assert_allclose(out, block(IMAGES), rtol=1e-4, atol=1e-5)


def test_metadata_reaches_the_parameters():
    layer = jds.nn.DepthwiseConv(
        4, 3, kernel_metadata={"tag": "kernel"}, bias_metadata={"tag": "bias"}, rngs=nnx.Rngs(0)
    )
    assert (layer.kernel.tag, layer.bias.tag) == ("kernel", "bias")


def test_implementation_is_passed_on():
    for implementation, convolutions in (("xla", 2), (None, 0)):
        block = jds.nn.SeparableConv(4, 6, (3, 3), implementation=implementation, rngs=nnx.Rngs(0))
        text = jax.jit(block).lower(IMAGES).as_text()
        assert text.count("stablehlo.convolution") == convolutions


def test_an_ordinary_convolution_runs_with_the_named_implementation_or_raises():
    def layer(implementation):
        config = jds.nn.LayerConfig(implementation=implementation)
        return jds.nn.ConvNorm(4, 6, 3, strides=(1, 2), config=config, rngs=nnx.Rngs(0))

    assert layer("xla")(IMAGES).shape == (2, 9, 4, 6)
    with pytest.raises(NotImplementedError, match="shifted"):
        layer("shifted")(IMAGES)


def test_blocks_name_an_implementation_for_their_depthwise_and_pointwise_convolutions():
    config = jds.nn.LayerConfig(implementation="shifted")
    block = jds.nn.FusedResidual(4, 4, 3, expanded_features=8, config=config, rngs=nnx.Rngs(0))
    assert (block.expand.conv.implementation, block.project.conv.implementation) == (None, "shifted")
    assert block(IMAGES).shape == IMAGES.shape


def test_the_steps_after_a_layer_compute_the_same_when_fused():
    layer = jds.nn.DepthwiseConv(4, (3, 3), bias_init=nnx.initializers.normal(), rngs=nnx.Rngs(0))
    want = jax.nn.relu6(layer(IMAGES))
    np.testing.assert_allclose(layer(IMAGES, activation=jax.nn.relu6), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (
            lambda m, r: m.ConvNorm(8, 16, 3, depthwise=True, rngs=r),
            ValueError,
            "ConvNorm: with depthwise=True `out_features` must equal `in_features`, got in_features=8 and out_features=16",
        ),
        (
            lambda m, r: m.DepthwiseConv(0, 3, rngs=r),
            ValueError,
            "DepthwiseConv: `in_features` must be a positive int, got 0",
        ),
        (
            lambda m, r: m.PointwiseConv(4, -1, rngs=r),
            ValueError,
            "PointwiseConv: `out_features` must be a positive int, got -1",
        ),
        (
            lambda m, r: m.SeparableConv(4, 0, 3, rngs=r),
            ValueError,
            "SeparableConv: `out_features` must be a positive int",
        ),
        (
            lambda m, r: m.DepthwiseConv(4, 3, channel_multiplier=0, rngs=r),
            ValueError,
            "DepthwiseConv: `channel_multiplier` must be a positive int, got 0",
        ),
        (lambda m, r: m.DepthwiseConv(4, (3,) * 4, rngs=r), ValueError, "`kernel_size` must have 1, 2 or 3 entries"),
        (lambda m, r: m.DepthwiseConv(4, (3, 0), rngs=r), ValueError, "`kernel_size` must be at least 1 on every axis"),
        (
            lambda m, r: m.DepthwiseConv(4, (3, 3), strides=0, rngs=r),
            ValueError,
            "DepthwiseConv: `strides` must be at least 1",
        ),
        (
            lambda m, r: m.DepthwiseConv(4, (3, 3), padding="X", rngs=r),
            ValueError,
            "DepthwiseConv: `padding` must be one of",
        ),
        (
            lambda m, r: m.PointwiseConv(4, 4, spatial_axes=4, rngs=r),
            ValueError,
            "`spatial_axes` must be 1, 2 or 3, got 4",
        ),
        (
            lambda m, r: m.DepthwiseConv(4, 3, implementation="fast", rngs=r),
            ValueError,
            "DepthwiseConv: `implementation` must be None or one of",
        ),
        (
            lambda m, r: m.DepthwiseConv(4, 3, mask=jnp.ones(3), rngs=r),
            ValueError,
            r"DepthwiseConv: `mask` must have the kernel's shape \(3, 1, 4\), got \(3,\)",
        ),
    ],
    ids=range(12),
)
def test_wrong_arguments_are_refused(build, error, text, unchecked_types):
    with pytest.raises(error, match=text):
        build(jds.nn, nnx.Rngs(0))


class LinenNetwork(linen.Module):
    """A Linen network that uses a jds block, as the documentation shows."""

    @linen.compact
    def __call__(self, images, train: bool):
        block = bridge.to_linen(
            jds.nn.SeparableConv,
            4,
            8,
            (3, 3),
            depthwise_norm=nnx.BatchNorm,
            depthwise_activation=jax.nn.relu,
            name="block",
        )
        return linen.Dense(3)(block(images).mean((1, 2)))


def test_a_linen_network_trains_parameters_and_statistics():
    network = LinenNetwork()
    variables = network.init(jax.random.key(0), IMAGES, train=True)
    assert {"params", "batch_stats"} <= set(variables)
    labels = jnp.array([0, 2])

    @jax.jit
    def step(variables):
        def loss(params):
            logits, updates = network.apply(variables | {"params": params}, IMAGES, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

        (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradients)
        return value, {**variables, **updates, "params": params}

    first, after = step(variables)
    second, _ = step(after)
    assert second < first
    before, after = (jax.tree.leaves(v["batch_stats"]) for v in (variables, after))
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert "stablehlo.convolution" not in step.lower(variables).as_text()
