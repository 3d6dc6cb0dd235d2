"""What networks make of images that are none, and of configs that make no sense."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jds

pytestmark = pytest.mark.usefixtures("quick_compilation")

# One of each family, the smallest.
FAMILIES = (
    "mobilenetv1_100",
    "mobilenetv2_035",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small_035",
    "mobilenetv4_hybrid_medium_075",
    "efficientnet_b0",
    "mnasnet_small",
    "mixnet_s",
    "legacy_xception",
    "convnext_atto",
    "mobileone_s0",
)


def abstract(name, **options):
    model = nnx.eval_shape(functools.partial(jds.create_model, name, **options))
    model.eval()
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_an_empty_batch_gives_empty_logits(name):
    # As PyTorch's networks do.
    model = abstract(name, num_classes=7)
    images = jax.ShapeDtypeStruct((0, 96, 96, 3), jnp.float32)
    assert nnx.eval_shape(lambda model, x: model(x), model, images).shape == (0, 7)
    maps = nnx.eval_shape(lambda model, x: model.features(x), model, images)
    assert [array.shape[0] for array in maps] == [0] * len(model.feature_info)


def test_an_empty_batch_runs_folded_too():
    model = jds.create_model("mobilenetv2_035", num_classes=7)
    model.eval()
    for network in (model, jds.fold_batch_norm(model)):
        assert nnx.jit(lambda model, x: model(x))(network, jnp.zeros((0, 32, 32, 3))).shape == (0, 7)


@pytest.mark.parametrize(
    ("images", "error", "text"),
    [
        (np.ones((64, 64, 3), np.float32), ValueError, r"add the batch axis: `images\[None\]`"),
        (np.ones((1, 3, 64, 64), np.float32), ValueError, "channels last, .*the channels first.*transpose"),
        (
            np.ones((1, 64, 64, 4), np.float32),
            ValueError,
            r"\(batch, height, width, 3\), channels last, got \(1, 64, 64, 4\)",
        ),
        (np.ones((64, 64), np.float32), ValueError, "got"),
        (np.ones((1, 64, 64, 3), np.uint8), TypeError, "got uint8; `model.preprocess`"),
        (np.ones((1, 64, 64, 3), np.int32), TypeError, "got int32; `model.preprocess`"),
        ([[[1.0, 2.0, 3.0]]], ValueError, "add the batch axis"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_batch_of_images_is_refused(images, error, text):
    model = abstract("mobilenetv3_small_050")
    for call in (type(model).__call__, type(model).features):
        with pytest.raises(error, match=f"MobileNetV3: `images` must.*{text}"):
            nnx.eval_shape(lambda model, call=call: call(model, images), model)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["mobilenetv2_100", "efficientnet_b0", "mobilenetv1_100", "mixnet_s"])
def test_widths_and_depths_that_make_no_network_are_refused(name, value):
    for option in {"width", "depth"} & {*jds.zoo.find(name).config.__dataclass_fields__}:
        with pytest.raises(ValueError, match=f"`{option}` must be positive and finite, got {value}"):
            jds.create_model(name, **{option: value})


@pytest.mark.parametrize("output_stride", [8, 16])
def test_mobileone_with_dilated_filters_has_the_weights_of_the_other(output_stride):
    # timm: `use_ident = in_chs == out_chs and stride == 1 and dilation[0] == dilation[1]`.
    plain, dilated = (
        nnx.to_flat_state(nnx.state(abstract("mobileone_s0", output_stride=stride), nnx.Any(nnx.Param, nnx.BatchStat)))
        for stride in (32, output_stride)
    )
    assert [(path, leaf.shape) for path, leaf in plain] == [(path, leaf.shape) for path, leaf in dilated]


def rates(model):
    found = []
    for _, module in nnx.iter_modules(model):
        if isinstance(module, jds.nn.skip.Skip):
            found.append(module.dropout.rate if module.dropout else 0.0)
    return found


@pytest.mark.parametrize(
    ("name", "last", "count"),
    [
        # timm 1.0.31, `drop_path_rate=0.2`: its builder counts the last pointwise convolution as a block, too.
        ("mobilenetv3_large_100", 0.2 * 14 / 16, 9),
        ("mobilenetv3_small_100", 0.2 * 10 / 12, 6),
        # The rates rise over all 42 halves; those have one that add their inputs.
        ("mobileone_s4", 0.2 * 39 / 41, 34),
    ],
)
def test_rates_of_drop_path_are_timms(name, last, count):
    found = [rate for rate in rates(abstract(name, drop_path=0.2)) if rate]
    assert max(found) == pytest.approx(last)
    assert len(found) == count


def test_xception_has_no_drop_path():
    with pytest.raises(ValueError, match="Xception: `drop_path` must be 0, got"):
        jds.create_model("legacy_xception", drop_path=0.1)


def test_xceptions_maps_are_after_their_relu():
    # As timm's, whose maps are taken after the ReLU that the next block begins with.
    model = jds.create_model("legacy_xception", num_classes=0)
    model.eval()
    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 64, 64, 3)), jnp.float32)
    for array in nnx.jit(lambda model, x: model.features(x))(model, images):
        assert array.min() >= 0
