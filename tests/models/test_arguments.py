"""Every network refuses wrong settings and images with a clear message."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import SMALLEST

import jds
from jds import models, zoo

CONFIGS = sorted({type(variant.config) for variant in zoo.VARIANTS.values()}, key=lambda config: config.__name__)
NOT_COUNTS = (0, -1, 2.5, "3", None, True)
NOT_SHARES = (-0.1, 1.0, float("nan"), "0.1", None)
NOT_POSITIVE = (0, -0.5, float("nan"), float("inf"), "1", None)
WRONG = {
    "num_classes": (-1, 2.5, "10", None, True),
    "in_features": NOT_COUNTS,
    "dropout": NOT_SHARES,
    "drop_path": NOT_SHARES,
    "output_stride": (0, 4, 12, 64, 32.5, None),
    "padding": ("same", "VALID", 1),
    "epsilon": (-1e-3, float("nan"), None),
    "momentum": (-0.1, 1.1, float("nan")),
    "unbiased_variance": (None, 1),
    "norm": (nnx.BatchNorm(3, rngs=nnx.Rngs(0)), "batch"),
    "dtype": (jnp.int8, "float7"),
    "param_dtype": (None, jnp.uint8),
    "rows": ((), None),
    "width": NOT_POSITIVE,
    "depth": NOT_POSITIVE,
    "stem": NOT_COUNTS,
    "last": NOT_COUNTS,
    "hidden": NOT_COUNTS,
    "stem_stride": NOT_COUNTS,
    "branches": NOT_COUNTS,
    "layer_scale": (float("nan"), "1"),
    "activation": ("relu", 3),
    "separable": (1,),
    "pads_end": (1,),
    "fixed_ends": (None,),
    "fixed_stem": (None,),
    "use_squeeze": (None,),
}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_wrong_values_of_every_field_are_refused(config, unchecked_types):
    for field in dataclasses.fields(config):
        if field.name == "implementation":  # checked by each convolution
            continue
        for value in WRONG[field.name]:
            with pytest.raises((ValueError, TypeError), match=rf"^\w+: `{field.name}` must "):
                config(**{field.name: value})


@pytest.mark.parametrize(("name", "network"), [("mobilenetv1_100", "MobileNetV1"), ("legacy_xception", "Xception")])
def test_stochastic_depth_is_refused_where_there_is_no_block_to_drop(name, network):
    with pytest.raises(ValueError, match=rf"{network}: `drop_path` must be 0, got 0\.2"):
        jds.create_model(name, drop_path=0.2)


SMALL = models.MobileNetV2Config(rows=models.mobilenet_v2.ROWS[:2], width=0.35)


@pytest.mark.parametrize("call", [lambda model, images: model(images), lambda model, images: model.features(images)])
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.ones((64, 64, 3), np.float32), ValueError, r"got \(64, 64, 3\); add the batch axis: `images\[None\]`"),
        (np.ones((2, 3, 64, 64), np.float32), ValueError, r"channels last, .*have the channels first: `images.transpose"),
        (np.ones((2, 64, 64, 4), np.float32), ValueError, "for 4 channels build the network with in_features=4"),
        (np.ones(3, np.float32), ValueError, r"must have shape \(batch, height, width, 3\), channels last, got \(3,\)"),
        (np.ones((1, 0, 64, 3), np.float32), ValueError, r"must have at least one pixel, got shape \(1, 0, 64, 3\)"),
        (np.ones((1, 64, 64, 3), np.uint8), TypeError, "must be floating-point .*, got uint8; use `model.preprocess`"),
        (np.ones((1, 64, 64, 3), np.int32), TypeError, "got int32; use `model.preprocess`"),
        ([[[1.0, 2.0, 3.0]]], ValueError, "add the batch axis"),
        ([[1.0], [2.0, 3.0]], TypeError, "got list, which cannot be converted to an array"),
        (None, TypeError, "got NoneType, which cannot be converted to an array"),
    ],
)  # fmt: skip
def test_wrong_images_are_refused(images, error, message, call, unchecked_types):
    model = nnx.eval_shape(lambda: models.MobileNetV2(SMALL, rngs=nnx.Rngs(0)))
    with pytest.raises(error, match=f"MobileNetV2: `images` .*{message}"):
        call(model, images)


@pytest.mark.parametrize("name", SMALLEST)
def test_an_empty_batch_has_no_logits(name):
    def build():
        model = jds.create_model(name, num_classes=7, **SMALLEST[name])
        model.eval()
        return model, jds.fold_batch_norm(model)

    images = jax.ShapeDtypeStruct((0, 64, 64, 3), jnp.float32)
    for model in nnx.eval_shape(build):
        logits, maps = nnx.eval_shape(lambda model, images: (model(images), model.features(images)), model, images)
        assert logits.shape == (0, 7)
        assert [array.shape[0] for array in maps] == [0] * len(model.feature_info)


def test_an_empty_batch_runs():
    model = models.MobileNetV2(SMALL, rngs=nnx.Rngs(0))
    model.eval()
    for network in (model, jds.fold_batch_norm(model)):
        assert nnx.jit(lambda model, images: model(images))(network, jnp.zeros((0, 32, 32, 3))).shape == (0, 1000)
