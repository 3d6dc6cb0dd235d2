"""Exported ONNX files compute what JAX does, and have the form of graphs written by hand for ONNX."""

import collections
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from exported import convolution, network
from flax import nnx
from jax import lax
from networks import SMALLEST

import jds
from checks.exports import groups_in, groups_of

RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


X = array(2, 8, 6, 5)
DENSE, DEPTHWISE, GROUPED, ODD = array(3, 3, 5, 7), array(3, 3, 1, 10), array(3, 3, 1, 5), array(4, 2, 5, 6)
CHANNELS = array(1, 1, 1, 5)


FUNCTIONS = {
    "convolution": convolution(DENSE),
    "depthwise": convolution(DEPTHWISE, feature_group_count=5, window_strides=(2, 1)),
    "dilated": convolution(DENSE, rhs_dilation=(1, 2), padding=[(0, 1), (3, 2)]),
    "negative padding": convolution(ODD, padding=[(-1, 2), (1, -2)]),
    "transposed": convolution(DENSE, lhs_dilation=(2, 3), padding=[(1, 2), (2, 2)]),
    "transposed depthwise": convolution(DEPTHWISE, lhs_dilation=(2, 2), feature_group_count=5, padding=[(2, 2), (1, 1)]),
    "channels first": lambda x: lax.conv(x.transpose(0, 3, 1, 2), DENSE.transpose(3, 2, 0, 1), (1, 1), "SAME"),

    "kernel of equal numbers": lambda x: convolution(jnp.full((3, 3, 5, 7), 0.5))(x) @ jnp.ones((7, 2)),
    "scale after convolution": lambda x: convolution(GROUPED, feature_group_count=5)(x) * CHANNELS - CHANNELS / 3,
    "used twice": lambda x: (y := convolution(DENSE)(x), y * 2, jax.nn.relu(y)),
    "mean": lambda x: x.mean((1, 2)),
    "means": lambda x: (x.mean((1, 2), keepdims=True), x.mean(), x.sum((1,)) / 3, x.max((1, 2), keepdims=True)),
    "reductions": lambda x: (x.min(1), x.prod(3), jnp.argmax(x, 2), jnp.argmin(x, -1), jnp.cumsum(x, 1)),
    "variance": lambda x: (x.var((1, 2)), x.std(-1)),
    "reshapes": lambda x: (x.reshape(2, 48, 5), x.reshape(2, -1), x.reshape(4, 4, 6, 5), x[:, None], x.reshape(8, 12, 5)),
    "transposes": lambda x: (x.transpose(2, 0, 3, 1), x.swapaxes(1, 2).reshape(2, 48, 5)),
    "slices": lambda x: (x[:, 1:7:2], x[:, 0], x[..., -1], x[:, ::-1], jnp.flip(x, (1, 3)), x[1, 2, 3], x[:, 2:, :-1]),
    "takes": lambda x: (jnp.take(x, jnp.array([2, 0]), axis=1), x[:, :, jnp.array([1, 1, 4])]),
    "computed indices": lambda x: jnp.take(x, x[0, :3, 0, 0].astype(jnp.int32) + jnp.array([-9, 2, 9]), axis=1, mode="clip"),
    "pads": lambda x: (jnp.pad(x, ((0, 0), (1, 2), (0, 0), (3, 0))), lax.pad(x, 1.5, ((0, 0, 0), (-1, 2, 0), (0, 0, 0), (0, -1, 0)))),
    "joins": lambda x: (jnp.concatenate([x, x * 2], -1), jnp.stack([x, x]), jnp.split(x, [2, 5], 1), jnp.tile(x, (1, 2, 1, 3)), jnp.unstack(x, axis=2), jnp.repeat(x, 2, axis=1), jnp.roll(x, 1, 2)),
    "broadcasts": lambda x: (jnp.broadcast_to(x[:, None, :1], (2, 3, 8, 6, 5))[:, :, :1], x + jnp.arange(5.0)[None, None, None]),
    "matrix products": lambda x: (x @ DENSE[0, 0], x.reshape(96, 5) @ DENSE[0, 0] + 1, DENSE[0, 0].T @ x.swapaxes(2, 3)),
    "einsums": lambda x: (
        jnp.einsum("bhwc,bhwd->bcd", x, x), jnp.einsum("bhwc,bkwc->bhkw", x, x), jnp.einsum("bhwc,xyhw->bcxy", x, X.transpose(0, 3, 1, 2)),
        jnp.einsum("bhwc,bhwc->bh", x, x), jnp.einsum("bhwc,c->bhw", x, X[0, 0, 0]), jnp.einsum("bhwc,h->bwc", x, X[0, :, 0, 0]),
    ),
    "resized": lambda x: jax.image.resize(x, (2, 16, 12, 5), "bilinear"),
    "pools": lambda x: (nnx.max_pool(x, (2, 3), (2, 1), "SAME"), nnx.avg_pool(x, (2, 2), (2, 2)), nnx.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)),
    "activations": lambda x: tuple(f(x) for f in (
        jax.nn.relu, jax.nn.relu6, jax.nn.silu, jax.nn.sigmoid, jax.nn.hard_silu, jax.nn.hard_sigmoid, jax.nn.elu, jax.nn.softplus,
        jax.nn.leaky_relu, jax.nn.tanh, jax.nn.mish, jax.nn.gelu, lambda x: jax.nn.gelu(x, approximate=False), jax.nn.hard_tanh, jax.nn.selu,
    )),
    "elements": lambda x: (
        jnp.abs(x), jnp.exp(x), jnp.log1p(jnp.abs(x)), jnp.sqrt(x * x + 1), x**3, 1 / (2 + jnp.sin(x)), jnp.where(x > 0, x, -x), jnp.clip(x, -0.5, 0.25),
        jnp.sign(x), jnp.floor(x), jnp.round(x), jnp.maximum(x, 0.5), jnp.minimum(x, 0.5), jnp.minimum(jnp.maximum(x, 0), -1), x > 0, x == x, x != X, jnp.isfinite(x),
        lax.rsqrt(x * x + 1), jnp.expm1(x), x.astype(jnp.int32), jnp.cbrt(1.0) * x, jnp.square(x), jnp.power(2.0, x),
    ),
    "norms": lambda x: (jax.nn.softmax(x), jax.nn.softmax(x, axis=1), jax.nn.log_softmax(x, axis=-1), jax.nn.standardize(x)),
    "layer norm": nnx.LayerNorm(5, rngs=nnx.Rngs(0)),
    "group norm": nnx.GroupNorm(5, num_groups=1, rngs=nnx.Rngs(0)),
    "attention": lambda x: jax.nn.dot_product_attention(*(x.reshape(2, 24, 2, 5),) * 3),
    "top k": lambda x: lax.top_k(x, 3),
    "constant": lambda x: (jnp.ones(3), x, x),
}  # fmt: skip
OPSETS = [11, 13, 17, onnx.defs.onnx_opset_version()]


@pytest.fixture(autouse=True)
def as_users_call():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def read(path):
    model = onnx.load(path)
    kinds = collections.Counter(node.op_type for node in model.graph.node)
    return model, kinds


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_compute_the_same_values_in_every_opset_and_layout(name, tmp_path):
    # What is written depends on the opset and, elsewhere, on the layout; not on both.
    cases = [*zip(OPSETS, ["NCHW", "NHWC", "NCHW", "NHWC"], strict=True)]
    for opset, layout in cases[name == "computed indices" :]:  # opset 11 clips no integers
        report = jds.export(FUNCTIONS[name], tmp_path / "a.onnx", X, opset=opset, layout=layout)
        assert report.check is not None
        assert report.check.error < 1e-5, (opset, layout, report)


@pytest.mark.parametrize("name", SMALLEST)
def test_networks_compute_the_same_values_and_have_the_layers_of_the_network(name, tmp_path, quick_compilation):
    model = network(name)
    report = jds.export(model, tmp_path / "a.onnx", image_size=64)
    assert report.check.error < 1e-5
    written, kinds = read(tmp_path / "a.onnx")
    assert sorted(groups_in(written.graph)) == sorted(groups_of(model, 64))
    # Two around each channels-last norm of ConvNeXt, and one for the keys of an attention.
    allowed = {"convnext_atto": 2 * kinds["LayerNormalization"], "mobilenetv4_hybrid_medium_075": kinds["Softmax"]}
    assert kinds["Transpose"] <= allowed.get(name, 0)
    constants = {tensor.name for tensor in written.graph.initializer}
    assert not [node for node in written.graph.node if constants.issuperset(node.input)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        # What is written for hard activations, for attention, and for norms and GELU depends on the opset,
        ("mobilenetv3_small_050", {"opset": 11, "batch": 2}),
        ("mobilenetv4_hybrid_medium_075", {"opset": 11, "batch": 2}),
        ("convnext_atto", {"opset": 11, "batch": 2}),
        # reshapes in attention depend on the batch, and what is around a network on no network.
        ("mobilenetv4_hybrid_medium_075", {"batch": None, "layout": "NHWC", "normalize": True, "softmax": True}),
        ("mobilenetv3_small_050", {"features": True, "opset": OPSETS[-1]}),
        ("convnext_atto", {"features": True, "opset": OPSETS[-1]}),
    ],
    ids=str,
)
def test_networks_compute_the_same_values_with_all_options(name, options, tmp_path, quick_compilation):
    model = network(name)
    report = jds.export(model, tmp_path / "a.onnx", image_size=64, **options)
    assert report.check.error < 1e-4, report


HALVES = [array(1, 1, 3, 4), array(1, 1, 3, 4)]
PART_KERNELS = {shape: array(*shape) for shape in [(1, 1, 2, 4), (1, 1, 4, 4), (1, 1, 6, 4), (3, 3, 3, 4)]}


def joined(parts, kernels=HALVES, strides=(1, 1), order=(0, 1)):
    """Convolutions of the parts of images, joined."""
    results = [convolution(kernel, window_strides=strides)(part) for part, kernel in zip(parts, kernels, strict=True)]
    return jnp.concatenate([results[place] for place in order], -1), results


def test_convnext_has_one_node_per_norm_activation_and_layer(tmp_path):
    jds.export(network("convnext_atto"), tmp_path / "a.onnx", image_size=64, opset=20)
    _, kinds = read(tmp_path / "a.onnx")
    blocks, downsamplings = 5, 3
    assert (kinds["Gelu"], kinds["LayerNormalization"]) == (blocks, blocks + downsamplings + 2)
    assert (kinds["Conv"], kinds["MatMul"], kinds["Add"]) == (3 * blocks + downsamplings + 1, 0, blocks)


BY_PARTS = {
    "each of its part": lambda x: joined(jnp.split(x, 2, -1))[0] * 3,
    "with strides and biases": lambda x: joined(jnp.split(x, 2, -1), strides=(2, 1))[0] + CHANNELS[..., :1],
}
NOT_BY_PARTS = {
    "of parts in another order": lambda x: joined(jnp.split(x, 2, -1), order=(1, 0))[0],
    "of parts of two sizes": lambda x: joined(jnp.split(x, [2], -1), [PART_KERNELS[1, 1, 2, 4], PART_KERNELS[1, 1, 4, 4]])[0],
    "with kernels of two sizes": lambda x: joined(jnp.split(x, 2, -1), [HALVES[0], PART_KERNELS[3, 3, 3, 4]])[0],
    "of the same images": lambda x: joined([x[..., :3], x[..., :3]])[0],
    "of some parts": lambda x: joined(jnp.split(x, 3, -1)[:2], [PART_KERNELS[1, 1, 2, 4]] * 2)[0],
    "of which one is read again": lambda x: (lambda whole, parts: (whole, parts[0]))(*joined(jnp.split(x, 2, -1))),
    "of which one has a bias": lambda x: jnp.concatenate([convolution(HALVES[0])(x[..., :3]) + 1, convolution(HALVES[1])(x[..., 3:])], -1),
    "along another axis": lambda x: jnp.concatenate([convolution(HALVES[0])(part) for part in jnp.split(x, 2, -1)], 1),
    "of rows": lambda x: jnp.concatenate([convolution(PART_KERNELS[1, 1, 6, 4])(part) for part in jnp.split(x, 2, 1)], -1),
}  # fmt: skip


@pytest.mark.parametrize("name", [*BY_PARTS, *NOT_BY_PARTS])
def test_convolutions_of_all_parts_of_an_array_are_one_grouped_convolution(name, tmp_path):
    report = jds.export((BY_PARTS | NOT_BY_PARTS)[name], tmp_path / "a.onnx", array(2, 8, 4, 6), layout="NCHW")
    assert report.check.error < 1e-5
    assert (report.layers.get("Concat", 0), report.layers["Conv"]) == ((0, 1) if name in BY_PARTS else (1, 2))


def test_an_unfolded_network_has_the_graph_of_a_folded_one(tmp_path):
    model = network("mobilenetv2_035")
    model.eval()
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    plain = jds.export(jax.jit(lambda x: model(x)), tmp_path / "a.onnx", images, layout="NCHW")
    assert plain.layers == jds.export(model, tmp_path / "b.onnx", image_size=64).layers


PATTERNS = {
    "LayerNormalization": nnx.LayerNorm(5, epsilon=1e-3, rngs=nnx.Rngs(0)),
    "LayerNormalization without fast variance": nnx.LayerNorm(5, use_fast_variance=False, rngs=nnx.Rngs(0)),
    "LayerNormalization without bias": nnx.LayerNorm(5, use_bias=False, rngs=nnx.Rngs(0)),
    "Softmax": jax.nn.softmax,
    "LogSoftmax": jax.nn.log_softmax,
    "Gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "Gelu by tanh": jax.nn.gelu,
    "Gelu by erf": lambda x: 0.5 * x * (1 + lax.erf(x * 0.5**0.5)),
    "Gelu by erf, in another order": lambda x: (lax.erf(x * 0.5**0.5) + 1) * (x * 0.5),
    "Gelu by erf and division": lambda x: x * 0.5 * (1.0 + lax.erf(x / np.sqrt(2).astype(np.float32))),
    "HardSwish": jax.nn.hard_silu,
    "HardSigmoid": jax.nn.hard_sigmoid,
    "Softplus": jax.nn.softplus,
    "Relu": jax.nn.relu,
    "Clip": jax.nn.relu6,
    "GlobalAveragePool": lambda x: x.transpose(0, 2, 3, 1).mean((1, 2), keepdims=True).transpose(0, 3, 1, 2),
    "ReduceMean": lambda x: x.mean(-1),
    "Gemm": lambda x: x[:, 0, 0] @ DENSE[0, 0] + DENSE[0, 0, 0],
}


@pytest.mark.parametrize("name", PATTERNS)
def test_functions_that_onnx_has_as_one_node_are_one_node(name, tmp_path):
    jds.export(PATTERNS[name], tmp_path / "a.onnx", X, opset=20)
    _, kinds = read(tmp_path / "a.onnx")
    moves = {"Reshape", "Transpose", "Slice", "Squeeze"}
    assert {kind: count for kind, count in kinds.items() if kind not in moves} == {name.split()[0]: 1}


def test_a_free_batch_is_free(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    name = "mobilenetv4_hybrid_medium_075"
    model = network(name)
    jds.export(model, tmp_path / "a.onnx", image_size=64, batch=None)
    model.eval()
    session = runtime.InferenceSession(tmp_path / "a.onnx")
    images = array(5, 64, 64, 3)
    wanted = nnx.jit(lambda model, images: model(images))(model, jnp.asarray(images))
    for batch in (1, 2, 5):
        (got,) = session.run(None, {"images": images[:batch].transpose(0, 3, 1, 2)})
        np.testing.assert_allclose(got, wanted[:batch], rtol=1e-3, atol=1e-4)


def test_the_model_and_its_state_are_not_changed(tmp_path):
    model = network("mobilenetv2_035")
    kinds = (nnx.Param, nnx.BatchStat)
    before = jax.tree.map(np.asarray, nnx.state(model, kinds))
    jds.export(model, tmp_path / "a.onnx", image_size=32)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model, kinds))
    assert not model.stem.norm.use_running_average


def fails(x):
    return jnp.fft.fft(x).real


SMALL = network("mobilenetv2_035")


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"`path` must end in .onnx, .tflite, .jax, .html, .mlpackage, or have no ending for a folder, got '.*a\.pt'", lambda folder: jds.export(SMALL, folder / "a.pt")),
        (ValueError, "`opset` must be from 11 to", lambda folder: jds.export(SMALL, folder / "a.onnx", opset=10)),
        (ValueError, "`batch` must be a positive int, or None", lambda folder: jds.export(SMALL, folder / "a.onnx", batch=0)),
        (ValueError, "`layout` must be 'NCHW' or 'NHWC'", lambda folder: jds.export(SMALL, folder / "a.onnx", layout="CHW")),
        (TypeError, "a network needs no example arguments", lambda folder: jds.export(SMALL, folder / "a.onnx", X)),
        (TypeError, "fails needs example arguments", lambda folder: jds.export(fails, folder / "a.onnx")),
        (TypeError, "must be a network, a module or a function, got 3", lambda folder: jds.export(3, folder / "a.onnx", X)),
        (ValueError, "`normalize` can only be given for a network", lambda folder: jds.export(fails, folder / "a.onnx", X, normalize=True)),
        (ValueError, "`check` is for networks", lambda folder: jds.export(fails, folder / "a.onnx", X, check=[X])),
        (NotImplementedError, r"export: fft \(complex64.* in .*test_onnx.py:\d+ .*cannot be written", lambda folder: jds.export(fails, folder / "a.onnx", X)),
        (ValueError, r"only the first axis of an input may be symbolic, got x of shape \(b, h, 3\)", lambda folder: jds.export(jax.nn.relu, folder / "a.onnx", jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, h, 3"), jnp.float32))),
        (NotImplementedError, "an index is out of range, from 0 to 9 for size 8", lambda folder: jds.export(lambda x: jnp.take(x, jnp.array([0, 9]), axis=1), folder / "a.onnx", X)),
        (NotImplementedError, "computed indices out of range give NaN", lambda folder: jds.export(lambda x, i: jnp.take(x, i, axis=1), folder / "a.onnx", X, jnp.array([0, 1]))),
        (FileNotFoundError, "no/such", lambda folder: jds.export(SMALL, folder / "no/such/a.onnx", image_size=32)),
    ],
)  # fmt: skip
def test_mistakes_are_explained_and_leave_no_file(error, message, call, tmp_path, unchecked_types):
    with pytest.raises(error, match=message):
        call(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_linen_network_is_exported(tmp_path):
    from flax import linen

    net = linen.Sequential([linen.Conv(8, (3, 3), strides=2), linen.relu, lambda x: x.mean((1, 2)), linen.Dense(3)])
    variables = net.init(jax.random.key(0), X)
    report = jds.export(lambda x: net.apply(variables, x), tmp_path / "a.onnx", X, layout="NCHW")
    assert report.check.error < 1e-5
    assert {"Conv", "Relu", "Gemm"} <= report.layers.keys()
    assert "Transpose" not in report.layers


def test_the_report_prints_itself(tmp_path):
    report = jds.export(SMALL, tmp_path / "a.onnx", image_size=32)
    text = str(report)
    assert re.search(r"inputs +images float32\[1,3,32,32\]", text)
    assert re.search(r"error +\S+ in ONNX Runtime \S+, on random numbers", text)
    assert report.bytes == (tmp_path / "a.onnx").stat().st_size


def test_without_a_runtime_the_report_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report = jds.export(SMALL, tmp_path / "a.onnx", image_size=32)
    assert report.check is None
    assert "not run, as its runtime is not installed: pip install onnxruntime" in str(report)


def test_an_equinox_model_is_exported(tmp_path):
    import equinox

    net = equinox.nn.MLP(5, 3, 8, 2, key=jax.random.key(0))
    report = jds.export(jax.vmap(net), tmp_path / "a.onnx", array(4, 5))
    assert report.check.error < 1e-5
    assert report.layers["Gemm"] == 3
