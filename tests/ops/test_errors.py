"""Each wrong argument raises a message that names the function, the rule and the values."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import jds

IMAGES = jnp.ones((2, 8, 8, 4))
DEPTHWISE = jnp.ones((3, 3, 1, 4))
POINT = jnp.ones((1, 1, 4, 6))


def depthwise(kernel=DEPTHWISE, images=IMAGES, **options):
    return lambda: jds.depthwise_conv(images, kernel, **options)


CASES = {
    "channels do not fit": (
        depthwise(jnp.ones((3, 3, 1, 7))),
        ValueError,
        r"depthwise_conv: `kernel` must have shape .* got \(3, 3, 1, 7\) for in_features=4",
    ),
    "channels of an ordinary kernel do not fit": (
        lambda: jds.conv(IMAGES, jnp.ones((3, 3, 3, 5))),
        ValueError,
        r"conv: the kernel's in_features must be the inputs' divided by the groups, 4 // 1 = 4, got 3",
    ),
    "groups do not divide": (
        lambda: jds.conv(IMAGES, jnp.ones((3, 3, 1, 6)), feature_group_count=3),
        ValueError,
        r"conv: `feature_group_count` must be a positive int that divides in_features=4 and out_features=6, got 3",
    ),
    "halves do not fit": (
        lambda: jds.separable_conv(IMAGES, DEPTHWISE, jnp.ones((1, 1, 5, 6))),
        ValueError,
        r"separable_conv: the pointwise kernel's in_features must be .*\(3, 3, 1, 4\) and \(1, 1, 5, 6\)",
    ),
    "halves of two ranks": (
        lambda: jds.separable_conv(IMAGES, DEPTHWISE, jnp.ones((1, 4, 6))),
        ValueError,
        r"separable_conv: `depthwise_kernel` and `pointwise_kernel` must have the same rank",
    ),
    "halves of two dtypes": (
        lambda: jds.separable_conv(IMAGES, DEPTHWISE, POINT.astype(jnp.bfloat16)),
        TypeError,
        r"separable_conv: .* must have the same dtype, got float32 and bfloat16",
    ),
    "pointwise kernel of several positions": (
        lambda: jds.pointwise_conv(IMAGES, jnp.ones((3, 3, 4, 6))),
        ValueError,
        r"pointwise_conv: `kernel` must have one position.*got \(3, 3, 4, 6\); use `conv`",
    ),
    "inputs of too low a rank": (
        depthwise(images=jnp.ones((8, 4))),
        ValueError,
        r"depthwise_conv: `inputs` must have shape .* 2 spatial axes, got inputs \(8, 4\) and kernel \(3, 3, 1, 4\)",
    ),
    "kernel of too low a rank": (
        depthwise(jnp.ones((1, 4))),
        ValueError,
        r"depthwise_conv: `kernel` must have 1, 2 or 3",
    ),
    "kernel of too high a rank": (
        depthwise(jnp.ones((1, 1, 1, 1, 1, 4))),
        ValueError,
        r"depthwise_conv: `kernel` must have 1, 2 or 3 spatial axes",
    ),
    "mixed dtypes": (
        depthwise(DEPTHWISE.astype(jnp.float16)),
        TypeError,
        r"depthwise_conv: `inputs` and `kernel` must have the same dtype, got float32 and float16; cast",
    ),
    "integers": (
        depthwise(DEPTHWISE.astype(jnp.int32), IMAGES.astype(jnp.int32)),
        TypeError,
        r"depthwise_conv: `inputs` must have one of the dtypes float16, .*, got int32",
    ),
    "stride of 0": (
        depthwise(strides=0),
        ValueError,
        r"depthwise_conv: `strides` must be at least 1 on every axis, got 0",
    ),
    "negative stride": (depthwise(strides=(1, -2)), ValueError, r"depthwise_conv: `strides` .* got \(1, -2\)"),
    "stride that is not an int": (
        depthwise(strides=(1, 0.5)),
        TypeError,
        r"depthwise_conv: `strides` must be an int or .* \(1, 0.5\)",
    ),
    "too many strides": (depthwise(strides=(1, 1, 1)), ValueError, r"`strides` must .* each of the 2 spatial axes"),
    "dilation of 0": (
        depthwise(kernel_dilation=0),
        ValueError,
        r"depthwise_conv: `kernel_dilation` must be at least 1",
    ),
    "input dilation of 0": (
        depthwise(input_dilation=0),
        ValueError,
        r"depthwise_conv: `input_dilation` must be at least 1",
    ),
    "input dilation with named padding": (
        depthwise(input_dilation=2),
        ValueError,
        r"depthwise_conv: `padding` must be numeric if `input_dilation` is not 1, got 'SAME'",
    ),
    "unknown name of padding": (
        depthwise(padding="FULL"),
        ValueError,
        r"depthwise_conv: `padding` must be one of SAME, .*got 'FULL'",
    ),
    "causal in 2D": (
        depthwise(padding="CAUSAL"),
        ValueError,
        r"depthwise_conv: `padding` 'CAUSAL' requires 1 spatial axis",
    ),
    "padding of the wrong length": (
        depthwise(padding=[1, 1, 1]),
        ValueError,
        r"depthwise_conv: `padding` must have one int or \(low, high\) pair for each of the 2 spatial axes, got \[1, 1, 1\]",
    ),
    "padding of triples": (
        depthwise(padding=[1, (1, 1, 1)]),
        ValueError,
        r"depthwise_conv: `padding` must have one int or \(low",
    ),
    "wide reflection": (
        depthwise(jnp.ones((5, 5, 1, 4)), jnp.ones((1, 2, 8, 4)), padding="REFLECT"),
        ValueError,
        r"depthwise_conv: `padding` 'REFLECT' can add at most size - 1 positions, and spatial axis 0 of size 2 would need 2",
    ),
    "empty output": (
        depthwise(jnp.ones((9, 9, 1, 4)), padding="VALID"),
        ValueError,
        r"depthwise_conv: the output would be empty: an input of size \(8, 8\) with padding 'VALID' gives \(0, 0\)",
    ),
    "unknown implementation": (
        depthwise(implementation="winograd"),
        ValueError,
        r"depthwise_conv: `implementation` must be None or one of 'xla', 'shifted', 'native', got 'winograd'",
    ),
    "an implementation that cannot": (
        lambda: jds.conv(IMAGES, jnp.ones((3, 3, 4, 5)), implementation="shifted"),
        NotImplementedError,
        r"conv: `shifted` supports depthwise, pointwise and grouped convolutions.*use implementation=None",
    ),
    "a kernel that cannot": (
        lambda: jds.pointwise_conv(IMAGES, jnp.ones((1, 1, 4, 5)), strides=2, implementation="native"),
        NotImplementedError,
        r"pointwise_conv: `native` supports .* and this one is pointwise with strides .*use implementation=None",
    ),
    "too many terms": (
        depthwise(jnp.ones((17, 17, 1, 4)), jnp.ones((1, 32, 32, 4)), implementation="shifted"),
        NotImplementedError,
        r"depthwise_conv: `shifted` unrolls at most 256 terms, and this convolution has 289",
    ),
    "bias of a wrong length": (
        lambda: jds.conv(IMAGES, jnp.ones((3, 3, 4, 6)), bias=jnp.ones(4)),
        ValueError,
        r"conv: `bias` must have one value per output channel, shape \(6,\), got \(4,\)",
    ),
    "bias of the wrong dtype": (
        depthwise(bias=jnp.ones(4, jnp.bfloat16)),
        TypeError,
        r"depthwise_conv: `bias` must have the kernel's dtype, float32, got bfloat16; cast it with `astype`",
    ),
    "scale of one half": (
        lambda: jds.separable_conv(IMAGES, DEPTHWISE, POINT, depthwise_scale=jnp.ones(6)),
        ValueError,
        r"separable_conv: `depthwise_scale` must have .* shape \(4,\), got \(6,\)",
    ),
    "an activation by name": (
        lambda: jds.pointwise_conv(IMAGES, POINT, activation="relu"),
        TypeError,
        r"pointwise_conv: `activation` must be a function of an array, such as `jax.nn.relu`, or None, got 'relu'",
    ),
    "an activation that reduces": (
        lambda: jds.separable_conv(IMAGES, DEPTHWISE, POINT, pointwise_activation=jnp.sum),
        ValueError,
        r"separable_conv: `pointwise_activation` must keep the shape, \(2, 8, 8, 6\), got \(\) from <",
    ),
    "halves that do not fit, with a bias": (
        lambda: jds.separable_conv(IMAGES, jnp.ones((3, 3, 1, 7)), jnp.ones((1, 1, 7, 6)), pointwise_bias=jnp.ones(6)),
        ValueError,
        r"separable_conv: `depthwise_kernel` must have shape",
    ),
    "halves that do not fit": (
        lambda: jds.separable_conv(IMAGES, jnp.ones((3, 3, 1, 7)), jnp.ones((1, 1, 7, 6))),
        ValueError,
        r"separable_conv: `depthwise_kernel` must have shape",
    ),
    "a pointwise half of more positions": (
        lambda: jds.separable_conv(IMAGES, DEPTHWISE, jnp.ones((3, 3, 4, 6))),
        ValueError,
        r"separable_conv: `pointwise_kernel` must have one position",
    ),
    "a separable stride": (
        lambda: jds.separable_conv(IMAGES, DEPTHWISE, POINT, strides=0),
        ValueError,
        r"separable_conv: `strides` must be at least 1",
    ),
    "a separable dtype": (
        lambda: jds.separable_conv(IMAGES.astype(jnp.bfloat16), DEPTHWISE, POINT),
        TypeError,
        r"separable_conv: `inputs` and `depthwise_kernel` must have the same dtype",
    ),
    "an implementation that cannot, with a bias": (
        lambda: jds.conv(IMAGES, jnp.ones((3, 3, 4, 5)), bias=jnp.ones(5), implementation="shifted"),
        NotImplementedError,
        r"conv: `shifted` supports depthwise, pointwise and grouped",
    ),
    "no module to fold": (
        lambda: jds.fold_batch_norm(jnp.ones(3)),
        TypeError,
        r"fold_batch_norm: `model` must be an nnx.Module, got",
    ),
    "unknown platform": (
        lambda: jds.select_implementation(IMAGES, DEPTHWISE, feature_group_count=4, platform="abacus"),
        ValueError,
        r"select_implementation: `platform` must be one of 'cpu', .* got 'abacus'",
    ),
    "a class to accelerate": (lambda: jds.accelerate(dict), TypeError, r"accelerate: .* not a class"),
    "groups that are not an int": (
        lambda: jds.conv(IMAGES, jnp.ones((3, 3, 2, 4)), feature_group_count=2.0),
        TypeError,
        r"conv: `feature_group_count` must be an int, got 2.0",
    ),
    "nothing to accelerate": (lambda: jds.accelerate(3), TypeError, r"accelerate: `fun` must be callable.*got 3"),
}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("case", CASES)
def test_each_wrong_argument_raises_its_message(case):
    call, error, text = CASES[case]
    with pytest.raises(error, match=text):
        call()


WRONG_FOR_LAX = {
    "features": ((2, 8, 8, 4), (3, 3, 3, 4), {}),
    "groups": ((2, 8, 8, 4), (3, 3, 1, 4), {"feature_group_count": 3}),
    "ranks": ((2, 8, 8, 4), (3, 1, 4), {}),
    "padding": ((2, 8, 8, 4), (3, 3, 4, 4), {"padding": "FULL"}),
    "strides": ((2, 8, 8, 4), (3, 3, 4, 4), {"window_strides": (1,)}),
    "zero stride": ((2, 8, 8, 4), (3, 3, 4, 4), {"window_strides": (0, 1)}),
    "transposed": ((2, 8, 8, 4), (3, 3, 4, 4), {"lhs_dilation": (2, 2)}),
}


@pytest.mark.parametrize("case", WRONG_FOR_LAX)
def test_the_drop_in_raises_the_same_errors_as_lax(case):
    lhs, rhs, options = WRONG_FOR_LAX[case]
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")} | options

    def error(function):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever lax raises
            function(jnp.ones(lhs), jnp.ones(rhs), **options)
        return type(caught.value), str(caught.value)

    assert error(jds.conv_general_dilated) == error(lax.conv_general_dilated)


@pytest.mark.parametrize("dtype", ["int32", "int8", "complex64"])
def test_the_drop_in_accepts_what_lax_accepts(dtype):
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 4}
    arguments = IMAGES.astype(dtype), DEPTHWISE.astype(dtype), (1, 1), "SAME"
    got, want = (f(*arguments, **options) for f in (jds.conv_general_dilated, lax.conv_general_dilated))
    assert got.dtype == want.dtype
    assert jnp.array_equal(got, want)
    # An output without elements, and an empty batch.
    for shape in ((2, 2, 2, 4), (0, 8, 8, 4)):
        empty = jds.conv_general_dilated(jnp.ones(shape), DEPTHWISE, (1, 1), "VALID", **options)
        assert (
            empty.shape
            == jax.eval_shape(
                lambda x: lax.conv_general_dilated(x, DEPTHWISE, (1, 1), "VALID", **options), jnp.ones(shape)
            ).shape
        )
