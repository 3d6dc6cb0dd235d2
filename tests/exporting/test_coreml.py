"""Core ML packages have the form of those made for Core ML by hand, and say what JAX computes.

No Apple system is needed: the packages are evaluated by the documented meaning of their operations; see `mil`.
"""

import collections
import dataclasses
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exported import convolution, for_inference, network
from flax import nnx
from PIL import Image

import jds
from checks.exports import groups_of
from jds.exporting._description import Description

pytest.importorskip("stablehlo_coreml", reason="coremltools has no wheel for this system and Python")
import mil

from jds.exporting import coreml
from jds.exporting.coreml import _session

RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


X = array(2, 8, 6, 5)
DENSE, DEPTHWISE = array(3, 3, 5, 7), array(3, 3, 1, 10)
FACTORS, OFFSETS = array(7), array(7)


@pytest.fixture(autouse=True)
def as_users_call():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def assert_close(got, wanted, tolerance=1e-5):
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def bytes_of(model):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(for_inference(model), nnx.Param)))


@pytest.mark.parametrize(
    "name",
    [
        *("mobilenetv2_035", "mobilenetv3_small_050", "mobilenetv4_hybrid_medium_075", "efficientnet_lite0"),
        *("mixnet_s", "legacy_xception", "convnext_atto"),
    ],
)
def test_networks_have_their_convolutions_and_weights_once_and_say_what_jax_computes(name, tmp_path, quick_compilation):
    model, path = network(name), tmp_path / "a.mlpackage"
    report = jds.export(model, path, image_size=64)
    assert report.check is None
    assert "not run" in report.notes[0]
    assert report.inputs == {"images": "float32[1,3,64,64]"}
    images = array(1, 64, 64, 3)
    model.eval()
    assert_close(mil.run(path, {"images": images.transpose(0, 3, 1, 2)})["logits"], np.asarray(nnx.jit(model)(images)))
    _, function = mil.load(path)
    groups = [int(op.groups.val) for op in function.operations if op.op_type == "conv"]
    wanted = collections.Counter(groups_of(model, 64))
    # Dense layers of images and of their means are convolutions, too.
    assert {count: number for count, number in collections.Counter(groups).items() if count > 1} == {
        count: number for count, number in wanted.items() if count > 1
    }
    assert len(groups) >= wanted.total()
    kinds = report.layers
    assert not {"tile", "cast", "exp", "maximum", "minimum", "real_div", "rsqrt"} & kinds.keys()
    # Biases and factors are in the weights of the convolution before them.
    pairs = [op for op in function.operations if op.op_type in ("add", "sub", "mul")]
    assert not [op for op in pairs if op.x.val is not None or op.y.val is not None]
    # One before the classifier, and those of attention.
    assert kinds.get("transpose", 0) <= 1 + 8 * kinds.get("scaled_dot_product_attention", 0)
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    assert weights.stat().st_size < 1.05 * bytes_of(model) + 10_000


# What each is written as, without what moves its axes.
FUNCTIONS = {
    "dense": (convolution(DENSE), {"conv": 1}),
    "depthwise": (convolution(DEPTHWISE, feature_group_count=5, window_strides=(2, 1)), {"conv": 1}),
    "dilated": (convolution(DENSE, rhs_dilation=(1, 2), padding=[(0, 1), (3, 2)]), {"conv": 1}),
    "scale and offset": (lambda x: convolution(DENSE)(x) * FACTORS - OFFSETS, {"conv": 1}),
    "pointwise as a product": (lambda x: x @ DENSE[0, 0] + OFFSETS, {"conv": 1}),
    "linear": (lambda x: x[:, 0, 0] @ DENSE[0, 0] + OFFSETS, {"slice_by_index": 1, "linear": 1}),
    "squeeze": (
        lambda x: x * jax.nn.sigmoid(jax.nn.relu(x.mean((1, 2)) @ DENSE[0, 0]) @ DENSE[0, 0].T)[:, None, None],
        {"reduce_mean": 1, "conv": 2, "relu": 1, "sigmoid": 1, "mul": 1},
    ),
    "mean": (lambda x: x.mean((1, 2)), {"reduce_mean": 1}),
    "max": (lambda x: x.max((1, 2), keepdims=True), {"reduce_max": 1}),
    "sum of channels": (lambda x: x.sum(-1), {"reduce_sum": 1}),
    "relu": (jax.nn.relu, {"relu": 1}),
    "relu6": (jax.nn.relu6, {"relu6": 1}),
    "clip": (lambda x: jnp.clip(x, -0.5, 0.25), {"clip": 1}),
    "clips": (lambda x: jnp.maximum(jnp.clip(jnp.minimum(x, 0.5), -1, 9), -0.25), {"clip": 1}),
    "empty clip": (lambda x: jnp.minimum(jnp.maximum(x, 1), -1), {"maximum": 1, "minimum": 1}),
    "silu": (jax.nn.silu, {"silu": 1}),
    "hard silu": (jax.nn.hard_silu, {"sigmoid_hard": 1, "mul": 1}),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), {"gelu": 1}),
    "gelu by tanh": (jax.nn.gelu, {"gelu": 1}),
    "softplus": (jax.nn.softplus, {"softplus": 1}),
    "softmax": (jax.nn.softmax, {"softmax": 1}),
    "log softmax": (lambda x: jax.nn.log_softmax(x, axis=1), {"reduce_log_sum_exp": 1, "sub": 1}),
    "layer norm": (nnx.LayerNorm(5, epsilon=1e-3, rngs=nnx.Rngs(0)), {"layer_norm": 1}),
    "layer norm of rows": (lambda x: nnx.LayerNorm(30, rngs=nnx.Rngs(0))(x.reshape(2, 8, 30)), {"layer_norm": 1}),
    "max pool": (lambda x: nnx.max_pool(x, (2, 3), (2, 1), "SAME"), {"max_pool": 1}),
    "mean pool": (lambda x: nnx.avg_pool(x, (2, 2), (2, 2)), {"avg_pool": 1, "mul": 2}),
    "split": (lambda x: jnp.concatenate(jnp.split(x, [2, 3], -1)[::-1], -1), {"split": 1, "concat": 1}),
    "attention": (
        lambda x: jax.nn.dot_product_attention(*(x.reshape(2, 24, 2, 5),) * 3),
        {"scaled_dot_product_attention": 1},
    ),
    "itself": (lambda x: (x, x), {"identity": 2}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_single_operations_and_say_what_jax_computes(name, tmp_path):
    fun, kinds = FUNCTIONS[name]
    for layout in ("NHWC", "NCHW"):
        report = jds.export(fun, tmp_path / "a.mlpackage", X, layout=layout)
        moves = {"transpose", "reshape", "squeeze", "expand_dims"}
        found = {kind: count for kind, count in report.layers.items() if kind not in moves}
        assert found == kinds or layout == "NHWC"
        (given,) = report.inputs
        is_first = layout == "NCHW"
        got = mil.run(tmp_path / "a.mlpackage", {given: X.transpose(0, 3, 1, 2) if is_first else X})
        for result, wanted in zip(got.values(), jax.tree.leaves(fun(X)), strict=True):
            is_moved = is_first and wanted.ndim == 4
            assert_close(result, np.asarray(wanted.transpose(0, 3, 1, 2) if is_moved else wanted))


def test_an_image_becomes_a_label(tmp_path, quick_compilation):
    labels = ["cat", "dog", "cat"]
    model, path = network("mobilenetv3_small_050", num_classes=3), tmp_path / "a.mlpackage"
    report = jds.export(model, path, image_size=64, normalize=True, softmax=True, labels=labels)
    assert report.inputs == {"images": "image[64,64] RGB"}
    assert report.outputs == {"classLabel": "string", "classLabel_probs": "probability by label"}
    assert report.layers["transpose"] == 1
    pixels = RNG.integers(0, 256, (1, 64, 64, 3), np.uint8)
    results = mil.run(path, {"images": pixels.transpose(0, 3, 1, 2).astype(np.float32)})
    model.eval()
    preprocessing = model.preprocessing
    wanted = np.asarray(jax.nn.softmax(nnx.jit(model)((pixels / 255 - preprocessing.mean) / preprocessing.std)))[0]
    names = ["cat (0)", "dog", "cat (2)"]
    assert list(results["classLabel_probs"]) == names
    assert_close(np.array([*results["classLabel_probs"].values()]), wanted)
    assert results["classLabel"] == names[wanted.argmax()]


def test_the_package_says_what_it_is(tmp_path, quick_compilation):
    model = network("mobilenetv2_035")
    jds.export(model, tmp_path / "a.mlpackage", image_size=64, layout="NHWC", softmax=True, normalize=True)
    read, function = mil.load(tmp_path / "a.mlpackage")
    description = Description.read(read.user_defined_metadata)
    assert description == Description(
        "mobilenetv2_035", "NHWC", True, "probabilities",
        dataclasses.replace(model.preprocessing, image_size=64), description.labels,
    )  # fmt: skip
    assert len(description.labels) == 1000
    spec = read.get_spec()
    assert read.short_description == "mobilenetv2_035, exported by jds"
    assert spec.specificationVersion == 9  # iOS 18
    assert spec.description.predictedFeatureName == "classLabel"
    (image,) = spec.description.input
    assert image.type.imageType.colorSpace == image.type.imageType.RGB
    assert [*function.inputs] == ["images"]


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto"])
def test_float16_halves_the_weights(name, tmp_path, quick_compilation):
    model, path = network(name), tmp_path / "a.mlpackage"
    report = jds.export(model, path, image_size=64, float16=True)
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    assert weights.stat().st_size < 1.05 * bytes_of(model) / 2 + 10_000
    assert report.inputs == {"images": "float32[1,3,64,64]"}
    images = array(1, 64, 64, 3)
    model.eval()
    got = mil.run(path, {"images": images.transpose(0, 3, 1, 2)})["logits"]
    assert got.dtype == np.float32
    assert_close(got, np.asarray(nnx.jit(model)(images)), 0.02)


def test_the_same_folder_is_written_again(tmp_path):
    for shape in ((2, 3), (4, 5)):
        jds.export(jnp.tanh, tmp_path / "a.mlpackage", np.ones(shape, np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mlpackage"]
    (got,) = mil.run(tmp_path / "a.mlpackage", {"x": X[0, :4, :5, 0]}).values()
    assert_close(got, np.tanh(X[0, :4, :5, 0]))


def fails(x):
    return jnp.fft.fft(x).real


SMALL = network("mobilenetv2_035")


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "batch=None is for .* not for Core ML", lambda path: jds.export(SMALL, path, batch=None)),
        (ValueError, "`int8` is for .* not for Core ML", lambda path: jds.export(SMALL, path, int8=[X])),
        (ValueError, "takes one image, got batch=2", lambda path: jds.export(SMALL, path, batch=2, normalize=True)),
        (NotImplementedError, r"export: convert_element_type \(float32.* → complex64.* in .*test_coreml.py:\d+ .*cannot be written to Core ML: .*; replace it", lambda path: jds.export(fails, path, X)),
        (ValueError, "has a fixed batch", lambda path: jds.export(jnp.sin, path, jax.ShapeDtypeStruct(jax.export.symbolic_shape("n"), jnp.float32))),
        (FileNotFoundError, "no/such", lambda path: jds.export(jnp.sin, path.parent / "no/such/a.mlpackage", X)),
    ],
)  # fmt: skip
def test_mistakes_are_explained_and_leave_no_file(error, message, call, tmp_path, unchecked_types):
    with pytest.raises(error, match=message):
        call(tmp_path / "a.mlpackage")
    assert not [*tmp_path.iterdir()]


def test_nothing_reaches_the_terminal(tmp_path):
    code = "import sys, jds, jax.numpy as jnp; jds.export(jnp.sin, sys.argv[1], jnp.ones(3))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.mlpackage")], capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""


def test_a_package_is_opened_on_a_mac_only(tmp_path):
    with pytest.raises(ModuleNotFoundError, match="runs on Apple systems only"):
        coreml.open({})


def test_on_a_mac_the_package_is_run_and_compared(tmp_path, monkeypatch, quick_compilation):
    """With the evaluator of the tests in the place of Core ML."""

    class Model:
        def __init__(self, path):
            self.path, (self.read, _) = path, mil.load(path)
            self.user_defined_metadata, self.get_spec = self.read.user_defined_metadata, self.read.get_spec

        def predict(self, inputs):
            arrays = {
                name: np.moveaxis(np.asarray(given, np.float32), -1, 0)[None]
                if isinstance(given, Image.Image)
                else given
                for name, given in inputs.items()
            }
            return mil.run(self.path, arrays)

    monkeypatch.setattr(_session, "sys", types.SimpleNamespace(platform="darwin"))
    models = types.SimpleNamespace(MLModel=Model)
    coremltools = types.SimpleNamespace(models=models)
    monkeypatch.setattr(_session, "packages", lambda: types.SimpleNamespace(coremltools=coremltools))
    for options in ({}, {"normalize": True, "softmax": True}, {"normalize": True, "layout": "NHWC"}):
        report = jds.export(SMALL, tmp_path / "a.mlpackage", image_size=32, **options)
        assert report.check is not None
        assert report.check.error < 1e-5
        assert "Core ML" in report.check.runtime
        assert not any("not run" in note for note in report.notes)
