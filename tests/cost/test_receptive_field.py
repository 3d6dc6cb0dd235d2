"""Receptive fields against brute force, published values, and programs that move and merge axes."""

import json
import random
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jds
from jds import cost
from jds.cost.fields._fields import receptive_fields

SIZE = 80


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def fields_by_layer(fun, *args):
    return {row.name: (row.receptive_field, row.stride) for row in cost.analyze(fun, *args).by("layer")}


def last_field(fun, *args):
    """The field of the last equation with a result."""
    found = [row for row in cost.analyze(fun, *args).by("equation") if row.output is not None]
    return found[-1].receptive_field, found[-1].stride


def named(layers):
    """Returns a function that returns the results of all layers, one after the other, each in a scope of its own."""

    def fun(x):
        results = []
        for number, layer in enumerate(layers):
            with jax.named_scope(f"layer{number}"):
                x = layer(x)
            results.append(x)
        return results

    return fun


def conv(x, kernel, layout="NHWC", **options):
    """A convolution with weights of one."""
    features = x.shape[layout.index("C")]
    groups = options.pop("feature_group_count", 1)
    rhs = jnp.ones((*kernel, features // groups, features))
    options = {"window_strides": (1, 1), "padding": "SAME"} | options
    return lax.conv_general_dilated(
        x, rhs, dimension_numbers=(layout, "HWIO", layout), feature_group_count=groups, **options
    )


def draw_conv(draw, layout):
    kernel = draw.randint(1, 5), draw.randint(1, 5)
    groups = draw.choice([1, 2])
    return lambda x: conv(x, kernel, layout, feature_group_count=groups)


def draw_strided(draw, layout):
    kernel, strides = (draw.randint(1, 4), draw.randint(1, 4)), (draw.randint(1, 3), draw.randint(1, 3))
    padding = draw.choice(["SAME", "VALID", ((2, 1), (0, 3))])
    return lambda x: conv(x, kernel, layout, window_strides=strides, padding=padding)


def draw_dilated(draw, layout):
    kernel, dilation = (draw.randint(1, 3), draw.randint(2, 3)), (draw.randint(1, 4), draw.randint(1, 4))
    return lambda x: conv(x, kernel, layout, rhs_dilation=dilation)


def draw_transposed(draw, layout):
    kernel, dilation = (draw.randint(2, 5), draw.randint(2, 5)), (draw.randint(1, 3), draw.randint(1, 3))
    strides, rhs_dilation = draw.choice([1, 1, 2]), draw.choice([1, 1, 2])
    return lambda x: conv(
        x,
        kernel,
        layout,
        padding=((3, 2), (1, 4)),
        lhs_dilation=dilation,
        window_strides=(strides, 1),
        rhs_dilation=(1, rhs_dilation),
    )


def draw_pooling(draw, layout):
    window, strides = (draw.randint(1, 4), draw.randint(1, 4)), (draw.randint(1, 3), draw.randint(1, 3))
    sizes = iter(window), iter(strides)
    places = [axis in "HW" for axis in layout]
    window, strides = (tuple(next(each) if place else 1 for place in places) for each in sizes)
    initial, combine = draw.choice([(-jnp.inf, lax.max), (0.0, lax.add)])
    return lambda x: lax.reduce_window(x, initial, combine, window, strides, "VALID")


def draw_residual(draw, layout):
    kernel, dilation = (draw.randint(1, 4), draw.randint(1, 4)), draw.randint(1, 2)
    return lambda x: jax.nn.relu(x + conv(x, kernel, layout, rhs_dilation=(dilation, 1)))


def draw_crop(draw, layout):
    low, high, step = draw.randint(0, 4), draw.randint(0, 4), draw.randint(1, 2)
    across = layout.index("W")

    def crop(x):
        cropped = lax.slice_in_dim(x, low, x.shape[across] - high, step, axis=across)
        config = [(1, 2, 0) if axis == across else (0, 0, 0) for axis in range(4)]
        return lax.pad(cropped, 0.0, config)

    return crop


def draw_repeat(draw, layout):
    axis, times = layout.index("H"), draw.randint(2, 3)
    return lambda x: 2 * jnp.repeat(x, times, axis=axis)  # a reshape is not the last operation of a layer


DRAWS = [
    draw_conv, draw_strided, draw_dilated, draw_transposed, draw_pooling, draw_residual, draw_crop, draw_repeat,
]  # fmt: skip


def draw_layers(draw, layout):
    """Draws layers whose results are neither too small nor too large, and whose fields are much smaller than an image."""
    layers = [draw_conv(draw, layout)]  # which says what the axes of the image are
    while len(layers) < 5:
        layers.append(draw.choice(DRAWS)(draw, layout))
        one = jax.eval_shape(named(layers), image(1, layout))[-1].shape
        field, _ = last_field(named(layers), image(1, layout))
        if not all(20 <= one[layout.index(axis)] <= 240 for axis in "HW") or max(field) > 40:
            layers.pop()
            return layers
    return layers


def image(count, layout):
    sizes = {"N": count, "H": SIZE, "W": SIZE, "C": 2}
    return shape(*(sizes[axis] for axis in layout))


def brute_force(fun, layout, axis):
    """Which positions along an axis of each result depend on which of the image: those that an infinity there reaches."""
    place = layout.index(axis)
    x = jnp.ones(image(SIZE, layout).shape)
    x = jnp.where(jax.nn.one_hot(jnp.arange(SIZE), SIZE, dtype=bool).reshape(
        [SIZE if each in (0, place) else 1 for each in range(4)]
    ), jnp.inf, x)  # fmt: skip
    others = tuple(each for each in range(1, 4) if each != place)
    return [(~np.isfinite(np.asarray(result))).any(others) for result in jax.jit(fun)(x)]


def extents(reached):
    """The first and the last position of the image that each position depends on."""
    return [np.flatnonzero(column)[[0, -1]] if column.any() else None for column in reached.T]


@pytest.mark.parametrize("seed", range(14))
def test_fields_are_those_that_a_change_of_one_pixel_reaches(seed):
    draw = random.Random(seed)
    layout = draw.choice(["NHWC", "NCHW"])
    fun = named(draw_layers(draw, layout))
    program = cost.analyze(fun, image(1, layout))
    found = [(row.receptive_field, row.stride) for row in program.by("layer")]
    for place, axis in enumerate("HW"):
        for (size, stride), reached in zip(found, brute_force(fun, layout, axis), strict=True):
            spans = extents(reached)
            assert size[place] == max(span[1] - span[0] + 1 for span in spans if span is not None)
            # Fields repeat after a few positions: after a divisor of this number, in these networks.
            period, quarter = next(each for each in (36, 12, 6) if 2 * each <= len(spans)), len(spans) // 4
            near = next(o for o in range(quarter, len(spans)) if spans[o] is not None)
            assert spans[near + period][0] - spans[near][0] == period * stride[place]


def sequence(*windows):
    """A network of windows (kernel, stride), by turns along both axes."""

    def fun(x):
        for number, (kernel, stride) in enumerate(windows):
            with jax.named_scope(str(number)):
                x = conv(x, (kernel, kernel), window_strides=(stride, stride))
        return x

    return fun


ALEXNET = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
VGG16 = [window for depth in (2, 2, 3, 3, 3) for window in [(3, 1)] * depth + [(2, 2)]]


# https://distill.pub/2019/computing-receptive-fields/#appendix
@pytest.mark.parametrize(
    ("windows", "size", "stride"), [(ALEXNET, 195, 32), (VGG16, 212, 32)], ids=["alexnet_v2", "vgg_16"]
)
def test_published_fields_of_plain_networks(windows, size, stride):
    found = fields_by_layer(sequence(*windows), shape(1, 224, 224, 1))
    assert found[str(len(windows) - 1)] == ((size, size), (stride, stride))


def bottleneck(x, stride):
    y = conv(conv(conv(x, (1, 1)), (3, 3), window_strides=(stride, stride)), (1, 1))
    return jax.nn.relu(y + (x if stride == 1 else conv(x, (1, 1), window_strides=(stride, stride))))


def resnet(x, depths, first):
    x = conv(x, (7, 7), window_strides=(2, 2))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    for stage, depth in enumerate(depths):
        for block in range(depth):
            # In the published networks, the last block of a stage has the stride; in PyTorch's, the first.
            at = 0 if first else depth - 1
            x = bottleneck(x, 2 if block == at and stage != (0 if first else 3) else 1)
    return x


@pytest.mark.parametrize(
    ("depths", "first", "size"),
    [((3, 4, 6, 3), False, 483), ((3, 4, 23, 3), False, 1027), ((3, 8, 36, 3), False, 1507), ((3, 4, 6, 3), True, 427)],
)
def test_published_fields_of_residual_networks(depths, first, size):
    found = last_field(lambda x: resnet(x, depths, first), shape(1, 224, 224, 1))
    assert found == ((size, size), (32, 32))


# The same appendix, MobileNet V1 there as `mobilenet_v1`; in EfficientNet and the others, gates do not count.
def test_published_field_of_mobilenet():
    found = fields_by_layer(nnx.eval_shape(lambda: jds.create_model("mobilenetv1_100")), shape(1, 224, 224, 3))
    assert found["stem/conv"] == ((3, 3), (2, 2))
    assert found["stages/4/1/pointwise_norm"] == ((315, 315), (32, 32))
    assert found["classifier"] == ((224, 224), None)


def attention(x):
    """Attention of all positions to all others, by one head."""
    tokens = x.reshape(x.shape[0], -1, x.shape[-1])
    scores = jax.nn.softmax(jnp.einsum("bqc,bkc->bqk", tokens, tokens))
    return x + jnp.einsum("bqk,bkc->bqc", scores, tokens).reshape(x.shape)


def excite(x):
    return x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True))


def flatten_and_back(x):
    return 2 * (x.reshape(-1, x.shape[-1]) @ jnp.ones((4, 4))).reshape(x.shape)


def shuffle(x):
    n, h, w, c = x.shape
    return 2 * x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c // 4)


def patches(x):
    n, h, w, c = x.shape
    return 2 * x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def normalize(x):
    x = x.astype(jnp.float32) / 255 - jnp.ones((1, 1, 1, 4))
    return x.transpose(0, 3, 1, 2)


def group_norm(x):
    groups = x.reshape(*x.shape[:3], 2, 2)
    return ((groups - groups.mean((1, 2, 4), keepdims=True)) * 2).reshape(x.shape)


def reflect(x):
    return jnp.pad(x, ((0, 0), (3, 3), (2, 1), (0, 0)), mode="reflect")


HALF = Fraction(1, 2)
FIRST = (3, 3), (2, 2)
WHOLE = (32, 32), None


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (excite, FIRST),
        (attention, WHOLE),
        (lambda x: conv(attention(x), (3, 3)), WHOLE),
        (flatten_and_back, FIRST),
        (group_norm, FIRST),
        (lambda x: x.mean((1, 2)), WHOLE),
        (lambda x: x.reshape(x.shape[0], -1) @ jnp.ones((1024, 7)), WHOLE),
        (lambda x: x.mean(2), ((3, 32), (2, None))),
        (lambda x: x * x.mean(2, keepdims=True), FIRST),
        (lambda x: x.argmax(-1), FIRST),
        (lambda x: jax.nn.softmax(x), FIRST),
        (lambda x: jnp.cumsum(x, axis=3), FIRST),
        (lambda x: jnp.concatenate([x, conv(x, (3, 3))], axis=3), ((7, 7), (2, 2))),
        (lambda x: sum(jnp.split(x, 2, axis=3)), FIRST),
        (lambda x: x.transpose(3, 2, 0, 1), FIRST),
        (lambda x: conv(reflect(x), (3, 3), padding="VALID"), ((7, 7), (2, 2))),
        (shuffle, ((3, 3), (1, 1))),
        (patches, ((5, 5), (4, 4))),
        (lambda x: conv(jnp.repeat(x, 4, axis=1), (1, 3)), ((3, 7), (HALF, 2))),
        # The gradient of a convolution with a stride; the kernel gradient has no positions.
        (lambda x: lax.conv_transpose(x, jnp.ones((3, 3, 4, 4)), (2, 2), "SAME"), ((5, 5), (1, 1))),
        # Unknown: indices are data, a resize is a gather or a product, sums of arrays with different strides, loops.
        (lambda x: x[:, jnp.array([3, 1])], None),
        (lambda x: jax.image.resize(x, (2, 32, 32, 4), "nearest"), None),
        (lambda x: jax.image.resize(x, (2, 32, 32, 4), "bilinear"), None),
        (lambda x: x[:, :8, :8] + conv(x, (1, 1), window_strides=(2, 2)), None),
        (lambda x: x + x[:, ::-1], None),
        (lambda x: jnp.cumsum(x, axis=1), None),
        (lambda x: lax.fori_loop(0, 3, lambda _, y: y + conv(x, (3, 3)), jnp.zeros((2, 16, 16, 4))), None),
        (lambda x: lax.scan(lambda y, _: (conv(y, (3, 3)), None), x, length=2)[0], None),
        (lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: conv(y, (3, 3)), x), None),
    ],
)  # fmt: skip
def test_fields_after_other_operations(then, expected):
    found = last_field(lambda x: 2 * then(conv(x, (3, 3), window_strides=(2, 2))), shape(2, 32, 32, 4))
    assert found == (expected or (None, None))


def test_the_image_is_what_the_first_convolution_reads():
    def fun(x, kernel, other):
        x = lax.conv_general_dilated(normalize(x), kernel, (2, 1), "SAME")
        return x * other

    image, kernel, other = shape(1, 30, 20, 4, dtype=jnp.uint8), shape(8, 4, 5, 3), shape(1, 8, 15, 20)
    with jax.numpy_rank_promotion("allow"):
        program = cost.analyze(fun, image, kernel, other)
        assert last_field(lambda kernel, image: fun(image, kernel, 1.0), kernel, image) == ((5, 3), (2, 1))
    last = [field for field in receptive_fields(program._program) if field is not None][-1]
    assert last == ((5, 3), (2, 1), (2, 3), False)
    assert receptive_fields(cost.analyze(jnp.dot, jnp.ones((3, 3)), jnp.ones((3, 3)))._program) == [None] * 3
    # Without a convolution: what the first window reads.
    assert last_field(lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (2,), "SAME"), shape(9)) == (None, None)
    pooled = last_field(lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 1), (1, 2, 1), "SAME"), shape(1, 9, 2))
    assert pooled == ((3,), (2,))


def test_the_backward_pass_has_no_fields():
    def loss(kernel, x):
        with jax.named_scope("layer"):
            return conv(lax.conv_general_dilated(x, kernel, (1, 1), "SAME"), (3, 3)).sum()

    with jax.numpy_dtype_promotion("standard"):
        program = cost.analyze(jax.grad(loss), shape(4, 4, 3, 3), shape(1, 4, 9, 9))
    backward = [
        row for row, op in zip(program.by("equation"), program.operations, strict=True) if op.phase == "backward"
    ]
    assert backward
    assert {row.receptive_field for row in backward} == {None}


def test_fields_are_exported():
    def fun(x):
        with jax.named_scope("up"):
            return lax.conv_transpose(x, jnp.ones((4, 4, 2, 2)), (2, 2), "SAME")

    program = cost.analyze(fun, shape(1, 9, 9, 2))
    (row,) = program.to_dict()["layer"]
    assert (row["receptive_field"], row["stride"]) == ((2, 2), (0.5, 0.5))
    assert json.loads(json.dumps(row))["stride"] == [0.5, 0.5]
    header, line = program.to_csv().splitlines()
    assert header.endswith(",receptive_field,stride")
    assert line.endswith(",2x2,0.5x0.5")
    assert program.total.receptive_field is None
    assert cost.analyze(jnp.sin, shape(9)).by("layer")[0].receptive_field is None
