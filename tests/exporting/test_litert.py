"""Exported LiteRT files compute what JAX does, with one operation for each layer."""

import collections
import itertools
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exported import network
from jax import lax
from networks import SMALLEST

import jds
from checks.exports import groups_of
from jds.exporting._formats import format_of

pytest.importorskip("litert_converter", reason="there is no LiteRT converter for this system")

X = np.random.default_rng(0).standard_normal((2, 8, 6, 5)).astype(np.float32)
SMALL = network("mobilenetv2_035")
KERNEL = np.random.default_rng(1).standard_normal((3, 3, 5, 10)).astype(np.float32)
NUMBERS = ("NHWC", "HWIO", "NHWC")


@pytest.fixture(autouse=True)
def as_users_call(unchecked_types):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def partitions(path):
    """Number of parts of the graph that XNNPACK runs; one if it runs all of it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    return collections.Counter(op["op_name"] for op in interpreter._get_ops_details())["DELEGATE"]


def depthwise_layers(model):
    return sum(groups > 1 for groups in groups_of(model, 64))


@pytest.mark.parametrize("image_size", [32, 64])  # maps of 1×1, and larger ones
@pytest.mark.parametrize("name", SMALLEST)
def test_networks_have_one_operation_per_layer_in_one_partition(name, image_size, tmp_path, quick_compilation):
    model = network(name)
    report = jds.export(model, tmp_path / "a.tflite", image_size=image_size)
    assert report.check.error < 1e-5
    assert report.layers["DEPTHWISE_CONV_2D"] == depthwise_layers(model)
    assert partitions(tmp_path / "a.tflite") == 1
    assert "TRANSPOSE" not in report.layers or name == "mobilenetv4_hybrid_medium_075"


@pytest.mark.parametrize("shape", [*itertools.product((1, 2), (1, 2), (1, 2))], ids=str)
def test_products_with_weights_are_written_whatever_the_sizes(shape, tmp_path):
    x, weights = X.ravel()[: 5 * np.prod(shape)].reshape(*shape, 5), KERNEL[0, 0]

    def products(x):
        last = x @ weights
        first = jnp.tensordot(weights, x, ((0,), (-1,)))
        reshaped = (x.reshape(-1, 5) @ weights).reshape(*shape, 10)
        return last, first, reshaped, (last + reshaped) @ weights.T

    assert jds.export(products, tmp_path / "a.tflite", x).check.error < 1e-5


@pytest.mark.parametrize("implementation", ["native", "shifted"])
def test_the_implementation_of_the_model_does_not_reach_the_file(implementation, tmp_path, quick_compilation):
    model = network("mixnet_s", implementation=implementation)
    report = jds.export(model, tmp_path / "a.tflite", image_size=32)
    assert report.layers["DEPTHWISE_CONV_2D"] == depthwise_layers(model)


FUNCTIONS = {
    "convolution": lambda x: lax.conv_general_dilated(x, KERNEL, (1, 2), "SAME", dimension_numbers=NUMBERS),
    "grouped": lambda x: lax.conv_general_dilated(
        x[..., :4], KERNEL[:, :, :2, :], (1, 1), "SAME", dimension_numbers=NUMBERS, feature_group_count=2
    ),
    "several inputs and results": lambda x, y: (x + y, (x * y).mean((1, 2))),
    "head": lambda x: jax.nn.softmax(jax.nn.gelu(x.mean((1, 2)) @ KERNEL[0, 0])),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_compute_the_same_values(name, tmp_path):
    arguments = (X, X + 1) if name == "several inputs and results" else (X,)
    report = jds.export(FUNCTIONS[name], tmp_path / "a.tflite", *arguments)
    assert report.check.error < 1e-5, report


def test_android_finds_labels_and_normalization(tmp_path):
    labels = [f"class {number}" for number in range(5)]
    model = network("mobilenetv2_035", num_classes=5)
    jds.export(model, tmp_path / "a.tflite", image_size=32, labels=labels)
    content = (tmp_path / "a.tflite").read_bytes()
    described = format_of(tmp_path / "a.tflite").open(content).description
    assert described.labels == tuple(labels)
    assert described.preprocessing.image_size == 32
    with zipfile.ZipFile(tmp_path / "a.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines() == labels
        assert json.loads(archive.read("jds.json"))["name"] == "mobilenetv2_035"
    # The metadata of the file is a flatbuffer of its own; `checks/mediapipe.py` reads it with Android's classifier.
    assert b"TFLITE_METADATA" in content
    assert b"M001" in content


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "batch=None is for .onnx, .jax, not for LiteRT", lambda path: jds.export(SMALL, path, batch=None)),
        (ValueError, "`opset` is for .onnx, not for LiteRT", lambda path: jds.export(SMALL, path, opset=17)),
        (ValueError, "LiteRT has the layout NHWC only, got layout='NCHW'", lambda path: jds.export(SMALL, path, layout="NCHW")),
        (NotImplementedError, r"sort \(.*test_litert.py:\d+ .*cannot be written to LiteRT: LiteRT has no `sort`", lambda path: jds.export(lambda x: jnp.sort(x, -1), path, X)),
        (NotImplementedError, r"fft \(.*test_litert.py:\d+ .*cannot be written to LiteRT", lambda path: jds.export(lambda x: jnp.fft.fft(x).real, path, X)),
        (NotImplementedError, "loops and conditionals are not supported", lambda path: jds.export(lambda x: lax.fori_loop(0, 3, lambda i, a: a * 2, x), path, X)),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_mistakes_are_explained_and_leave_no_file(error, message, call, tmp_path):
    with pytest.raises(error, match=message):
        call(tmp_path / "a.tflite")
    assert not [*tmp_path.iterdir()]


def test_a_file_that_computes_something_else_is_not_written(tmp_path):
    def transposed(x):
        numbers = {"dimension_numbers": NUMBERS, "lhs_dilation": (2, 2)}
        return lax.conv_general_dilated(x, KERNEL, (1, 1), [(2, 1), (2, 1)], **numbers)

    with pytest.raises(RuntimeError, match=r"computes something else than transposed: .* was not written"):
        jds.export(transposed, tmp_path / "a.tflite", X)
    assert not [*tmp_path.iterdir()]


def test_a_system_without_a_converter_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(ImportError, match=r"Linux on x86-64 and macOS on Apple silicon only, not for .*aarch64"):
        jds.export(SMALL, tmp_path / "a.tflite", image_size=32)
