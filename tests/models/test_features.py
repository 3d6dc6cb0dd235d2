"""The feature maps at each stride: their channels are known before running, at any image size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jds

# The lists of channels in timm or torchvision.
FEATURES = {
    "mobilenetv1_100": (64, 128, 256, 512, 1024),
    "mobilenetv2_100": (16, 24, 32, 96, 320),
    "mobilenetv3_large_100": (16, 24, 40, 112, 960),
    "mobilenetv3_small_100": (16, 16, 24, 48, 576),
    "mobilenetv4_conv_small": (32, 32, 64, 96, 960),
    "mobilenetv4_hybrid_medium": (32, 48, 80, 160, 960),
    "efficientnet_b0": (16, 24, 40, 112, 320),
    "mnasnet_100": (16, 24, 40, 96, 320),
    "mixnet_s": (16, 24, 40, 120, 200),
    "legacy_xception": (64, 128, 256, 728, 2048),
    "convnext_tiny": (96, 192, 384, 768),
    "mobileone_s1": (64, 96, 192, 512, 1280),
}


@functools.cache
def abstract(name):
    return nnx.eval_shape(lambda: jds.create_model(name))


def maps(model, size):
    model.eval()
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return nnx.eval_shape(lambda model, images: model.features(images), model, images)


@pytest.mark.parametrize("name", FEATURES)
def test_maps_are_those_of_feature_info(name):
    model = abstract(name)
    assert tuple(feature.features for feature in model.feature_info) == FEATURES[name]
    assert [feature.stride for feature in model.feature_info] == [2, 4, 8, 16, 32][-len(model.feature_info) :]
    # Strided layers round up, but the patches of ConvNeXt down; Xception's first layers have no padding.
    size = (96, 64) if name.startswith("convnext") else (97, 75)
    for feature, array in zip(model.feature_info, maps(model, size), strict=True):
        assert array.shape[-1] == feature.features
        if name != "legacy_xception":
            assert array.shape[1:3] == tuple(-(-side // feature.stride) for side in size)


def shapes(model):
    return {path: v.get_value().shape for path, v in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat)))}


DILATED = [(name, 8) for name in FEATURES if name != "legacy_xception"] + [("mobilenetv2_100", 16)]


@pytest.mark.parametrize(("name", "output_stride"), DILATED)
def test_dilated_filters_keep_the_maps_large(name, output_stride):
    strided = abstract(name)
    model = nnx.eval_shape(lambda: jds.create_model(name, output_stride=output_stride))
    # The same weights fit, also by timm's names: a stride that became 1 adds no skip connection.
    assert shapes(model) == shapes(strided)
    assert max(feature.stride for feature in model.feature_info) == output_stride
    assert tuple(feature.features for feature in model.feature_info) == FEATURES[name]
    assert maps(model, (128, 160))[-1].shape[1:3] == (128 // output_stride, 160 // output_stride)


@pytest.mark.parametrize("name", ["mobilenetv2_035", "mobileone_s0"])
def test_dilation_keeps_the_parameters_and_the_values(name, quick_compilation):
    """At every second position, the map of a dilated network equals that of the strided network."""
    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 64, 64, 3)), jnp.float32)
    row = jds.models.mobileone.MobileOneRow
    rows = {"rows": tuple(row(16, 1, width) for width in (1, 1.5, 2, 2))} if name == "mobileone_s0" else {}
    strided = jds.create_model(name, **rows)
    dilated = jds.create_model(name, output_stride=16, **rows)
    nnx.update(dilated, nnx.state(strided, (nnx.Param, nnx.BatchStat)))
    for model in (strided, dilated):
        model.eval()
    run = nnx.jit(lambda model, images: model.features(images))
    coarse, fine = run(strided, images), run(dilated, images)
    assert [array.shape[1] for array in fine] == [32, 16, 8, 4, 4]
    np.testing.assert_allclose(fine[3], coarse[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fine[4][:, ::2, ::2], coarse[4], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mobilenetv2_100", {"output_stride": 4}, r"MobileNetV2Config: `output_stride` must be 8, 16 or 32, got 4"),
        ("legacy_xception", {"output_stride": 16}, "Xception: `output_stride` must be 32, got 16"),
        ("mobilenetv2_100", {"dropout": 1.0}, "`dropout` must be at least 0 and less than 1, got 1.0"),
        ("mobilenetv2_101", {}, "there is no 'mobilenetv2_101'; did you mean mobilenetv2_1"),
    ],
)
def test_wrong_values_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        jds.create_model(name, **options)


def test_the_maps_of_xception_are_after_their_activation(quick_compilation):
    # As with timm's hooks. In the network itself, blocks with a skip connection take the values before the activation.
    row = jds.models.xception.XceptionRow
    rows = (row((8, 8), 2), row((16, 16), 2), row((16, 16), 1), row((16, 16), 2))
    model = jds.create_model("legacy_xception", rows=rows, num_classes=0)
    model.eval()
    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 64, 64, 3)), jnp.float32)
    maps, before = nnx.jit(lambda model, images: (model.features(images), model._maps(images)))(model, images)
    assert any(float(array.min()) < 0 for array in before)
    for found, wanted in zip(maps, before, strict=True):
        np.testing.assert_array_equal(found, np.maximum(wanted, 0))


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match=r"mobilenetv2_100 has no option 'numclasses'; did you mean num_classes\?"):
        jds.create_model("mobilenetv2_100", numclasses=3)
