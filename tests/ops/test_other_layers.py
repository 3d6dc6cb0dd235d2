"""Convolutions that mobile networks do not have: which ones are left to XLA, and their values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jds

NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def convolve(x, k, groups=1, strides=1, padding="SAME"):
    rank = k.ndim - 2
    return lax.conv_general_dilated(
        x, k, (strides,) * rank, padding, dimension_numbers=NUMBERS[rank], feature_group_count=groups
    )


def passes(fun, *shapes):
    """The implementations of the forward pass, the input gradient and the kernel gradient of `fun`."""
    x, k = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    out = jax.eval_shape(fun, x, k)
    programs = (
        (fun, (x, k)),
        (lambda k, g: jax.linear_transpose(lambda x: fun(x, k), x)(g), (k, out)),
        (lambda x, g: jax.linear_transpose(lambda k: fun(x, k), k)(g), (x, out)),
    )
    return [
        row.choice.implementation
        for program, arguments in programs
        for row in jds.acceleration_report(program, *arguments, platform="cpu").layers
    ]


GROUPED = {
    # Layers of public networks that used to run 1.5 to 11 times slower under `accelerate`, at batch 1.
    "wav2vec2, 5 s": ((1, 249, 768), (128, 48, 768), {"groups": 16, "padding": [(64, 63)]}),
    "wav2vec2, 1 s": ((1, 49, 768), (128, 48, 768), {"groups": 16, "padding": [(64, 63)]}),
    "NFNet-F0": ((1, 6, 6, 768), (3, 3, 128, 768), {"groups": 6}),
    "NFNet-F0, 3×3": ((1, 3, 3, 768), (3, 3, 128, 768), {"groups": 6}),
    "NFNet-F0, stride 2": ((1, 12, 12, 768), (3, 3, 128, 768), {"groups": 6, "strides": 2}),
    "NFNet-F0, one position": ((1, 3, 3, 768), (3, 3, 128, 768), {"groups": 6, "padding": "VALID"}),
    "5×5": ((1, 10, 10, 128), (5, 5, 32, 128), {"groups": 4}),
    "ResNeXt": ((1, 6, 6, 512), (3, 3, 16, 512), {"groups": 32}),
    "RegNet": ((1, 6, 6, 440), (3, 3, 8, 440), {"groups": 55}),
    "video": ((1, 2, 6, 6, 64), (3, 3, 3, 16, 64), {"groups": 4}),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", GROUPED)
def test_grouped_convolutions_are_left_except_for_the_kernel_gradient(name, batch):
    (_, *rest), kernel, options = GROUPED[name]
    assert passes(functools.partial(convolve, **options), (batch, *rest), kernel) == ["xla", "xla", "native"]


@pytest.mark.parametrize("batch", [1, 4])
def test_an_ensemble_by_vmap_is_grouped(batch):
    ensemble = jax.vmap(convolve)
    assert passes(ensemble, (8, batch, 6, 6, 64), (8, 3, 3, 64, 64)) == ["xla", "xla", "native"]
    # With one input for all members, it is a single ordinary convolution to the features of all of them.
    together = passes(jax.vmap(convolve, (None, 0)), (batch, 6, 6, 64), (8, 3, 3, 64, 64))
    assert together == ["native", "xla", "native"]


LINES = {
    # `jnp.convolve(samples, taps)`; sizes and ratios of a public comparison.
    (1000, 31): ["native", "native", "xla"],
    (16000, 16): ["native", "native", "xla"],
    (8000, 64): ["xla"] * 3,
    (2000, 200): ["xla"] * 3,
    (16000, 400): ["xla"] * 3,
    (48000, 256): ["xla"] * 3,
    (16000, 4096): ["xla"] * 3,
    (200, 8): ["native"] * 3,
}


@pytest.mark.parametrize("sizes", LINES, ids=str)
def test_long_filters_of_one_channel_are_left(sizes):
    samples, taps = sizes
    assert passes(convolve, (1, samples, 1), (taps, 1, 1)) == LINES[sizes]
    # The same along one axis of an image; with two axes or more channels, XLA's own is far slower.
    assert passes(convolve, (1, 1, samples, 1), (1, taps, 1, 1)) == LINES[sizes]
    assert passes(functools.partial(convolve, groups=16), (1, samples, 16), (min(taps, 1000), 1, 16)) == ["native"] * 3


def test_images_are_replaced_where_a_kernel_is_faster():
    assert passes(convolve, (1, 64, 64, 3), (3, 3, 3, 32))[0] == "native"
    assert passes(convolve, (1, 64, 64, 1), (3, 3, 1, 16))[0] == "native"
    assert passes(convolve, (1, 4, 16, 16, 3), (3, 7, 7, 3, 64))[0] == "native"
    assert passes(convolve, (1, 28, 28, 1), (3, 3, 1, 32))[0] == "xla"
    assert passes(convolve, (1, 16000, 1), (400, 1, 8))[0] == "xla"
    assert passes(convolve, (1, 224, 224, 3), (16, 16, 3, 192))[0] == "xla"


@pytest.mark.parametrize("implementation", ["native", "shifted"])
@pytest.mark.parametrize(
    ("inputs", "kernel", "options"),
    [
        ((3, 7, 6, 12), (3, 2, 4, 9), {"groups": 3, "strides": (2, 1), "padding": ((1, 2), (0, 1))}),
        ((2, 9, 40), (4, 20, 36), {"groups": 2, "kernel_dilation": (2,), "padding": ((3, 3),)}),
        ((1, 5, 4, 6, 6), (2, 3, 3, 3, 4), {"groups": 2, "padding": ((1, 0), (1, 1), (2, 1))}),
        ((2, 6, 5, 30), (3, 3, 2, 45), {"groups": 15, "padding": ((1, 1), (1, 1))}),
        ((5, 4, 3, 8), (1, 1, 4, 6), {"groups": 2, "padding": ((0, 0), (0, 0))}),
        ((2, 4, 4, 34), (3, 3, 17, 70), {"groups": 2, "input_dilation": (2, 1), "padding": ((2, 1), (1, 1))}),
    ],
    ids=str,
)
def test_kernel_gradients_of_groups_match_the_oracle(instruction_set, inputs, kernel, options, implementation):
    rng = np.random.default_rng(0)
    rank = len(kernel) - 2
    exact = {"strides": (1,) * rank, "kernel_dilation": (1,) * rank, **options}
    x, k = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in (inputs, kernel))
    call = functools.partial(
        jds.conv,
        x,
        implementation=None,
        feature_group_count=options["groups"],
        **{name: value for name, value in options.items() if name != "groups"},
    )
    out = call(k)
    cotangent = jnp.asarray(rng.standard_normal(out.shape), jnp.float32)
    with pytest.MonkeyPatch.context() as patch:
        if implementation == "shifted":
            patch.setattr("jds.ops.native._convolution.unsupported", lambda form: "left out")
            patch.setitem(
                jds.ops._dispatch.IMPLEMENTATIONS,
                "native",
                jds.ops._dispatch.IMPLEMENTATIONS["native"]._replace(unsupported=lambda form: "left out"),
            )
        gradient = jax.jit(lambda g: jax.linear_transpose(call, k)(g)[0])
        text = gradient.lower(cotangent).as_text()
        got = gradient(cotangent)
    assert "stablehlo.convolution" not in text
    assert ("@jds_" in text) == (implementation == "native")
    want = oracle.conv(x, k, **exact, cotangent=cotangent)[1].reshape(kernel)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize(
    "padding", [((0, 0), (-4, 3)), ((-2, 2), (1, -1)), ((-1, 1), (-3, 2)), ((-7, 9), (0, 0))], ids=str
)
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_negative_padding_crops_and_then_pads(padding, groups):
    # https://github.com/openxla/xla/issues/48713: XLA reads outside the array, with a different result in each run.
    rng = np.random.default_rng(0)
    x, k = rng.standard_normal((2, 6, 6, 8)), rng.standard_normal((3, 3, 8 // groups, 8))
    x, k = x.astype(np.float32), k.astype(np.float32)
    options = {"strides": (1, 2), "padding": padding, "kernel_dilation": (1, 1), "groups": groups}
    want = oracle.conv(x, k, **options)
    public = functools.partial(jds.conv, strides=(1, 2), padding=padding, feature_group_count=groups)

    def plain(x, k):
        return lax.conv_general_dilated(x, k, (1, 2), padding, dimension_numbers=NUMBERS[2], feature_group_count=groups)

    for call in (public, functools.partial(public, implementation="xla"), jds.accelerate(plain)):
        out, pull = jax.vjp(jax.jit(call), x, k)
        np.testing.assert_allclose(out, want, atol=1e-4)
        cotangent = np.cos(want).astype(np.float32)
        for got, exact in zip(pull(cotangent), oracle.conv(x, k, **options, cotangent=cotangent), strict=True):
            np.testing.assert_allclose(got, exact.reshape(got.shape), atol=1e-4)


def test_negative_padding_of_the_public_report_is_right():
    out = jds.conv(jnp.ones((1, 6, 6, 8)), jnp.ones((3, 3, 8, 5)), padding=((0, 0), (-4, 3)))
    np.testing.assert_array_equal(out[0, 0, :, 0], [48, 24, 0])


@pytest.mark.parametrize("spec", [P("d"), P(None, "d"), P(None, None, None, "d")], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_each_example_over_sharded_images_are_right(spec, groups):
    # XLA's partitioner mixes up the examples: 2127 of 2514 in plain JAX.
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((8, 8, 8, 8)), jnp.float32)
    k = jnp.asarray(rng.standard_normal((3, 3, 8 // groups, 8)), jnp.float32)

    def loss(k, image):
        return jnp.sum(jnp.sin(jds.conv(image[None], k, feature_group_count=groups)))

    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))
    want = each(k, x)
    got = each(k, jax.device_put(x, NamedSharding(mesh, spec)))
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_numbers_beyond_32_bits_are_left_to_xla():
    # These are valid because a kernel of one position has no neighbors: XLA computes them, with `accelerate` or without.
    x, k = jnp.ones((1, 4, 4)), jnp.ones((1, 1, 4))
    for options in ({"window_strides": (2**31,)}, {"rhs_dilation": (2**31,)}):
        call = functools.partial(
            lax.conv_general_dilated,
            x,
            k,
            **{"window_strides": (1,), "padding": "VALID", **options},
            dimension_numbers=NUMBERS[1],
            feature_group_count=4,
        )
        np.testing.assert_array_equal(jds.accelerate(call)(), call())


def test_padding_is_not_multiplied_by_an_infinite_weight():
    # XLA multiplies padding by the kernel in some forms and skips it in others; the CPU kernels skip it.
    x, k = jnp.ones((1, 4, 5, 8)), jnp.ones((3, 3, 1, 8)).at[0, 0].set(jnp.inf)
    out = jds.depthwise_conv(x, k, implementation="native")
    assert not jnp.isnan(out).any()
    assert jnp.isinf(out).sum() == 3 * 4 * 8
