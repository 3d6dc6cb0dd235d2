"""Files of any origin are counted as the network is that they were written from, and operators by hand."""

import collections
import functools
import math
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from exported import for_inference, network
from flax import nnx
from onnx import TensorProto, helper, numpy_helper

from jds import cost
from jds.exporting import read_cost
from jds.exporting._formats import Calibration, fitted, format_of
from jds.exporting._options import Options
from jds.exporting._prepare import prepare

SIZE = 32
IMAGES = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
ENDINGS = ["onnx", "tflite"]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def as_users_call(unchecked_types, request):
    if "tflite" in request.node.name:
        pytest.importorskip("litert_converter", reason="there is no LiteRT converter for this system")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def written(model, path, *, rounded=False, **options):
    """Writes a network without running it."""
    options = fitted(Options(**{"image_size": SIZE} | options), path, True)
    calibration = Calibration(RNG.standard_normal((2, SIZE, SIZE, 3), np.float32), ()) if rounded else None
    path.write_bytes(format_of(path).convert(prepare(model, (), options), options, calibration).file)
    return path


def total(graph):
    assert all(node.cost is not None for node in graph.nodes)
    return sum((node.cost.counts for node in graph.nodes), cost.Counts())


def parameters(graph):
    return [tensor for tensor in graph.tensors.values() if tensor.is_parameter]


def by_module(layers, modules):
    """Sums over layers that are parts of one module of the network."""
    sums = collections.Counter()
    for layer, macs in layers:
        path = re.sub(r"/convs/\d+$", "", layer)
        while path and path not in modules:
            path = path.rpartition("/")[0]
        sums[path] += macs
    return +sums


# Networks of which nothing is folded beyond what `for_inference` folds.
WHOLE = ["mobilenetv2_035", "mobilenetv3_small_050", "mixnet_s"]


@functools.cache
def counted(name):
    """A network, its analysis, and that of its folded form with and without padding."""
    model = network(name)
    evaluated, folded = nnx.clone(model), for_inference(model)
    evaluated.eval()
    analyses = {padding: cost.analyze(folded, IMAGES, count_padding=padding) for padding in (True, False)}
    return model, cost.analyze(evaluated, IMAGES), analyses


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", [*WHOLE, "convnext_atto", "mobilenetv4_hybrid_medium_075"])
def test_files_cost_what_the_network_costs(name, ending, tmp_path):
    model, unfolded, analyses = counted(name)
    path = written(model, tmp_path / f"a.{ending}")
    for count_padding, found in analyses.items():
        graph = read_cost(path, count_padding=count_padding)
        assert total(graph)[:2] == found.total.counts[:2]
        rows = [(row.name, row.macs) for row in found.by("layer")]
        modules = {re.sub(r"/convs/\d+$", "", layer) for layer, _ in rows}
        layers = [(node.layer, node.cost.counts.macs) for node in graph.nodes]
        # The products with one position of a hybrid network have no names in LiteRT.
        if (name, ending) != ("mobilenetv4_hybrid_medium_075", "tflite"):
            assert by_module(layers, modules) == by_module(rows, modules)
        if name in WHOLE:
            assert sum(math.prod(tensor.shape) for tensor in parameters(graph)) == found.total.parameters
            assert sum(tensor.bytes for tensor in parameters(graph)) == found.total.parameter_bytes
        if name in WHOLE and ending == "onnx":
            assert total(graph) == found.total.counts
    assert analyses[True].total.macs == unfolded.total.macs


@pytest.mark.parametrize("ending", ENDINGS)
def test_int8_is_computed_in_integers_with_a_quarter_of_the_weights(ending, tmp_path):
    model = network("mobilenetv3_small_050")
    plain = read_cost(written(model, tmp_path / f"a.{ending}"))
    graph = read_cost(written(model, tmp_path / f"b.{ending}", rounded=True))
    assert total(graph).macs == total(plain).macs
    assert total(graph).integer_operations > 0.99 * total(plain).flops
    assert total(graph).flops < 0.01 * total(plain).flops
    for node in graph.nodes:
        if node.cost.counts.macs:
            images, weights, bias = (graph.tensors[name] for name in node.inputs)
            assert weights.bytes == math.prod(weights.shape)
            assert (images.dtype in ("uint8", "int8"), weights.dtype, bias.dtype) == (True, "int8", "int32")
            assert node.cost.counts.flops == 0
    assert [math.prod(t.shape) for t in parameters(graph)] == [math.prod(t.shape) for t in parameters(plain)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_float16_weights_are_read_as_they_are_stored(ending, tmp_path):
    model = network("mobilenetv3_small_050")
    plain = read_cost(written(model, tmp_path / f"a.{ending}"))
    graph = read_cost(written(model, tmp_path / f"b.{ending}", float16=True))
    assert total(graph) == total(plain)
    sizes = [sum(tensor.bytes for tensor in parameters(each)) for each in (graph, plain)]
    assert 0.5 < sizes[0] / sizes[1] < 0.51


def test_the_batch_is_chosen(tmp_path):
    path = written(network("mobilenetv2_035"), tmp_path / "a.onnx", batch=None)
    one, four = read_cost(path), read_cost(path, batch=4)
    assert four.tensors["images"].shape == (4, 3, SIZE, SIZE)
    assert total(four) == total(one) * 4


# Operators by hand.


def model_of(nodes, inputs, constants=None, *, outputs=None, opset=21, domains=("com.microsoft", "custom")):
    """A model of nodes whose outputs have no shapes yet; sizes of inputs may be names."""
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "hand-made",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        outputs or [helper.make_empty_tensor_value_info(last)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets)


def save(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def floats(*shape):
    return TensorProto.FLOAT, shape


def array(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def one(op, shapes, constants=None, *, domain="", outputs=1, opset=21, **attributes):
    """A model of one node, whose inputs are in the order of their names."""
    inputs = sorted([*shapes, *(constants or {})])
    node = helper.make_node(op, inputs, [f"y{n}" for n in range(outputs)], domain=domain, **attributes)
    kinds = {name: kind if isinstance(kind[-1], tuple) else floats(*kind) for name, kind in shapes.items()}
    return model_of([node], kinds, constants, opset=opset)


IMAGE, ROWS = {"a": (2, 8, 6, 6)}, {"a": (3, 5, 7)}
UINT8 = TensorProto.UINT8
# The model, and multiply-accumulates, operations on floats, transcendental functions and operations on integers.
OPERATORS = {
    "Conv": (one("Conv", IMAGE, {"b": array(16, 8, 3, 3), "c": array(16)}, strides=[2, 2], pads=[1, 1, 1, 1]), "ordinary", 2 * 16 * 9 * 72, 2 * 2 * 16 * 9 * 72 + 2 * 16 * 9, 0, 0),
    "Conv of same size": (one("Conv", IMAGE, {"b": array(16, 8, 3, 3)}, auto_pad="SAME_UPPER"), "ordinary", 2 * 16 * 36 * 72, 4 * 16 * 36 * 72, 0, 0),
    "depthwise Conv": (one("Conv", IMAGE, {"b": array(16, 1, 3, 3)}, group=8), "depthwise", 2 * 16 * 16 * 9, 4 * 16 * 16 * 9, 0, 0),
    "grouped Conv": (one("Conv", IMAGE, {"b": array(8, 4, 1, 1)}, group=2), "grouped", 2 * 8 * 36 * 4, 4 * 8 * 36 * 4, 0, 0),
    "pointwise Conv": (one("Conv", IMAGE, {"b": array(4, 8, 1, 1)}), "pointwise", 2 * 4 * 36 * 8, 4 * 4 * 36 * 8, 0, 0),
    "FusedConv": (one("FusedConv", IMAGE, {"b": array(4, 8, 1, 1), "c": array(4)}, domain="com.microsoft", activation="Relu"), "pointwise", 2304, 4608 + 2 * 288, 0, 0),
    "ConvTranspose": (one("ConvTranspose", IMAGE, {"b": array(8, 4, 2, 2)}, strides=[2, 2]), "ordinary", 2 * 4 * 144 * 8, 4 * 4 * 144 * 8, 0, 0),
    "ConvInteger": (one("ConvInteger", {"a": (UINT8, (1, 8, 6, 6))}, {"b": array(4, 8, 1, 1, dtype=np.int8)}), "pointwise", 36 * 32, 0, 0, 2 * 36 * 32),
    "Gemm": (one("Gemm", {"a": (5, 3)}, {"b": array(7, 5), "c": array(7)}, transA=1, transB=1), "dense", 105, 210 + 21, 0, 0),
    "MatMul": (one("MatMul", ROWS, {"b": array(7, 4)}), "dense", 15 * 28, 30 * 28, 0, 0),
    "MatMul of activations": (one("MatMul", {"a": (3, 5, 7), "b": (3, 7, 4)}), "batched", 15 * 28, 30 * 28, 0, 0),
    "MatMulInteger": (one("MatMulInteger", {"a": (UINT8, (3, 5))}, {"b": array(5, 4, dtype=np.uint8)}), "dense", 60, 0, 0, 120),
    "MatMulNBits": (one("MatMulNBits", {"a": (3, 32)}, {"b": array(4, 1, 16, dtype=np.uint8), "c": array(4)}, domain="com.microsoft", K=32, N=4, bits=4, block_size=32), "dense", 384, 768, 0, 0),
    "QGemm": (one("QGemm", {"a": (UINT8, (3, 5))}, {"b": np.float32(1), "c": np.uint8(0), "d": array(7, 5, dtype=np.int8), "e": np.float32(1), "f": np.int8(0), "g": array(7, dtype=np.int32), "h": np.float32(1), "i": np.uint8(0)}, domain="com.microsoft", transB=1), "dense", 105, 0, 0, 210 + 21),
    "QLinearAdd": (one("QLinearAdd", {"a": (UINT8, (3, 5)), "d": (UINT8, (5,))}, {"b": np.float32(1), "c": np.uint8(0), "e": np.float32(1), "f": np.uint8(0), "g": np.float32(1), "h": np.uint8(0)}, domain="com.microsoft"), "element-wise", 0, 0, 0, 15),
    "QLinearConv": (one("QLinearConv", {"a": (UINT8, (2, 8, 6, 6))}, {"b": np.float32(1), "c": np.uint8(0), "d": array(4, 8, 3, 3, dtype=np.int8), "e": np.float32(1), "f": np.int8(0), "g": np.float32(1), "h": np.uint8(0), "i": array(4, dtype=np.int32)}), "ordinary", 2 * 4 * 16 * 72, 0, 0, 4 * 4 * 16 * 72 + 2 * 4 * 16),
    "Einsum": (one("Einsum", {"a": (2, 3, 4), "b": (2, 5, 4)}, equation="bij,bkj->bik"), "batched", 120, 240, 0, 0),
    "Attention": (one("Attention", {"a": (2, 3, 5, 4), "b": (2, 3, 6, 4), "c": (2, 3, 6, 8)}, opset=23), "batched", 2 * 3 * 5 * 6 * 12, 2 * 2160 + 180 + 2 * 180 + 2 * 150, 180, 0),
    "MaxPool": (one("MaxPool", IMAGE, kernel_shape=[2, 2], strides=[2, 2]), "reduction", 0, 16 * 9 * 3, 0, 0),
    "AveragePool": (one("AveragePool", IMAGE, kernel_shape=[3, 3]), "reduction", 0, 16 * 16 * 9, 0, 0),
    "GlobalAveragePool": (one("GlobalAveragePool", IMAGE), "reduction", 0, 16 * 36, 0, 0),
    "ReduceMean": (one("ReduceMean", ROWS, {"b": np.array([2])}), "reduction", 0, 105, 0, 0),
    "ReduceMax": (one("ReduceMax", ROWS, {"b": np.array([2])}), "reduction", 0, 90, 0, 0),
    "ReduceL2": (one("ReduceL2", ROWS, {"b": np.array([2])}), "reduction", 0, 105 + 90, 15, 0),
    "ReduceLogSumExp": (one("ReduceLogSumExp", ROWS, {"b": np.array([2])}), "reduction", 0, 210 + 90, 120, 0),
    "ArgMax": (one("ArgMax", ROWS, axis=2), "reduction", 0, 90, 0, 0),
    "TopK": (one("TopK", ROWS, {"b": np.array([4])}, outputs=2), "sorting", 0, 105 * 3, 0, 0),
    "CumSum": (one("CumSum", ROWS, {"b": np.array(1)}), "reduction", 0, 84, 0, 0),
    "Softmax": (one("Softmax", ROWS), "element-wise", 0, 4 * 105 - 2 * 15, 105, 0),
    "Softmax of opset 11": (one("Softmax", ROWS, opset=11, axis=1), "element-wise", 0, 4 * 105 - 2 * 3, 105, 0),
    "LayerNormalization": (one("LayerNormalization", ROWS, {"b": array(7), "c": array(7)}), "normalization", 0, 7 * 105 + 15, 15, 0),
    "BatchNormalization": (one("BatchNormalization", IMAGE, {name: array(8) for name in "bcde"}), "normalization", 0, 2 * 576, 0, 0),
    "InstanceNormalization": (one("InstanceNormalization", IMAGE, {"b": array(8), "c": array(8)}), "normalization", 0, 7 * 576 + 16, 16, 0),
    "Relu": (one("Relu", ROWS), "element-wise", 0, 105, 0, 0),
    "Clip": (one("Clip", ROWS, {"b": np.float32(0), "c": np.float32(6)}), "element-wise", 0, 210, 0, 0),
    "HardSwish": (one("HardSwish", ROWS), "element-wise", 0, 525, 0, 0),
    "Gelu": (one("Gelu", ROWS, approximate="tanh"), "element-wise", 0, 840, 105, 0),
    "Sigmoid": (one("Sigmoid", ROWS), "element-wise", 0, 0, 105, 0),
    "Pow": (one("Pow", ROWS, {"b": np.float32(3)}), "element-wise", 0, 210, 0, 0),
    "Pow of a root": (one("Pow", ROWS, {"b": np.float32(0.5)}), "element-wise", 0, 0, 105, 0),
    "Add": (one("Add", {"a": (3, 5, 7), "b": (7,)}), "element-wise", 0, 105, 0, 0),
    "Add of integers": (one("Add", {"a": (TensorProto.INT64, (3,)), "b": (TensorProto.INT64, (1,))}), "element-wise", 0, 0, 0, 3),
    "Greater": (one("Greater", {"a": (3, 5), "b": (5,)}), "element-wise", 0, 15, 0, 0),
    "QuantizeLinear": (one("QuantizeLinear", ROWS, {"b": np.float32(1), "c": np.uint8(0)}), "element-wise", 0, 420, 0, 0),
    "Resize to the nearest": (one("Resize", IMAGE, {"b": array(0), "c": np.float32([1, 1, 2, 2])}, mode="nearest"), "data movement", 0, 0, 0, 0),
    "Resize": (one("Resize", IMAGE, {"b": array(0), "c": np.float32([1, 1, 2, 2])}, mode="linear"), "element-wise", 0, 16 * 144 * 7, 0, 0),
    "Transpose": (one("Transpose", ROWS, perm=[2, 0, 1]), "data movement", 0, 0, 0, 0),
    "Concat": (one("Concat", {"a": (3, 5), "b": (3, 2)}, axis=1), "data movement", 0, 0, 0, 0),
    "LSTM": (one("LSTM", {"a": (10, 2, 5)}, {"b": array(1, 12, 5), "c": array(1, 12, 3), "d": array(1, 24)}, hidden_size=3), "dense", 20 * 12 * 8, 2 * 20 * 12 * 8 + 20 * 12 * 3 + 20 * 3 * 4, 20 * 3 * 5, 0),
    "GRU": (one("GRU", {"a": (10, 2, 5)}, {"b": array(1, 9, 5), "c": array(1, 9, 3)}, hidden_size=3), "dense", 20 * 9 * 8, 2 * 20 * 9 * 8 + 20 * 9 + 20 * 3 * 5, 20 * 3 * 3, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_onnx(name, tmp_path):
    model, kind, macs, flops, transcendentals, integers = OPERATORS[name]
    (node,) = read_cost(save(model, tmp_path / "a.onnx")).nodes
    assert node.cost.kind == kind
    assert node.cost.counts == cost.Counts(macs, macs, flops, transcendentals, integers)


def test_padding_before_a_convolution_is_its_own(tmp_path):
    pad = helper.make_node("Pad", ["x", "pads"], ["padded"])
    conv = helper.make_node("Conv", ["padded", "w"], ["y"])
    constants = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w": array(4, 8, 3, 3)}
    path = save(model_of([pad, conv], {"x": floats(1, 8, 5, 5)}, constants), tmp_path / "a.onnx")
    assert total(read_cost(path)).macs == 25 * 9 * 32
    assert total(read_cost(path, count_padding=False)).macs == (5 + 4 + 4) ** 2 * 32


def test_constants_are_parameters_or_settings(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(array(5, 4))),
        helper.make_node("Transpose", ["w"], ["turned"]),
        helper.make_node("MatMul", ["x", "turned"], ["product"]),
        helper.make_node("Clip", ["product", "low"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "shape"], ["y"]),
    ]
    constants = {"low": np.float32(0), "shape": np.array([15])}
    graph = read_cost(save(model_of(nodes, {"x": floats(3, 4)}, constants), tmp_path / "a.onnx"))
    assert [node.operation for node in graph.nodes] == ["MatMul", "Clip", "Reshape"]
    assert parameters(graph) == [graph.tensors["turned"]]
    assert graph.tensors["turned"] == ((4, 5), "float32", 80, True)
    assert graph.inputs == ("x",)


def test_a_constant_may_be_a_result(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["anchors"], value=numpy_helper.from_array(array(5, 4))),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, *floats(*size)) for name, size in (("y", (3, 5)), ("anchors", (5, 4)))
    ]
    outputs.append(helper.make_tensor_value_info("w", *floats(4, 5)))
    model = model_of(nodes, {"x": floats(3, 4)}, {"w": array(4, 5)}, outputs=outputs)
    found = cost.analyze_graph(read_cost(save(model, tmp_path / "a.onnx")))
    assert (found.total.macs, found.total.parameters) == (60, 20)


def test_sizes_that_the_file_computes_are_known(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ReduceProd", ["shape"], ["size"], keepdims=1),
        helper.make_node("Div", ["size", "twelve"], ["rows"]),
        helper.make_node("Concat", ["rows", "twelve"], ["new"], axis=0),
        helper.make_node("Reshape", ["x", "new"], ["y"]),
        helper.make_node("Dropout", ["y"], ["z", "mask"]),
    ]
    model = model_of(nodes, {"x": floats("n", 3, 8)}, {"twelve": np.array([12])})
    graph = read_cost(save(model, tmp_path / "a.onnx"), batch=5)
    assert graph.tensors["y"].shape == (10, 12)
    assert parameters(graph) == []


def test_layers_are_scopes_of_names(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["a"], name="/features/0/act/Relu"), helper.make_node("Relu", ["a"], ["b"], name="Relu_1")]  # fmt: skip
    nodes.append(helper.make_node("Relu", ["b"], ["y"], name="node_Relu_2"))
    entry = nodes[-1].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'features', 'features.1', 'relu']"
    graph = read_cost(save(model_of(nodes, {"x": floats(3)}), tmp_path / "a.onnx"))
    assert [node.layer for node in graph.nodes] == ["features/0/act", "", "features/1"]


def rounded_model(*between):
    """A convolution and more nodes between pairs of roundings, then a softmax."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "scale", "zero"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "w_zero"], ["w_d"]),
        helper.make_node("Conv", ["x_d", "w_d"], ["t0"]),
        *(helper.make_node(op, [f"t{n}"], [f"t{n + 1}"]) for n, op in enumerate(between)),
        helper.make_node("QuantizeLinear", [f"t{len(between)}", "scale", "zero"], ["t_q"]),
        helper.make_node("DequantizeLinear", ["t_q", "scale", "zero"], ["t_d"]),
        helper.make_node("Softmax", ["t_d"], ["y"]),
    ]
    constants = {
        "w": array(4, 8, 1, 1, dtype=np.int8),
        "scale": np.float32(1),
        "zero": np.uint8(0),
        "w_zero": np.int8(0),
    }
    return model_of(nodes, {"x": floats(1, 8, 6, 6)}, constants)


def test_what_lies_between_roundings_is_computed_in_integers(tmp_path):
    graph = read_cost(save(rounded_model("Relu"), tmp_path / "a.onnx"))
    # A limit after a convolution is rounded with it; the softmax is not rounded.
    assert [node.operation for node in graph.nodes] == ["QuantizeLinear", "Conv", "Relu", "DequantizeLinear", "Softmax"]
    assert [graph.tensors[node.outputs[0]].dtype for node in graph.nodes] == ["uint8"] * 3 + ["float32"] * 2
    assert [node.cost.counts.integer_operations for node in graph.nodes] == [0, 2 * 36 * 32, 36 * 4, 0, 0]
    graph = read_cost(save(rounded_model("Sigmoid"), tmp_path / "a.onnx"))
    # Another function is not: the convolution gives floats.
    kinds = [(node.operation, graph.tensors[node.outputs[0]].dtype) for node in graph.nodes]
    assert kinds[1:4] == [("Conv", "float32"), ("Sigmoid", "float32"), ("QuantizeLinear", "uint8")]
    assert graph.nodes[1].cost.counts.integer_operations == 2 * 36 * 32


def test_weights_that_alone_are_rounded_are_multiplied_in_float(tmp_path):
    nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["w_d"]), helper.make_node("MatMul", ["x", "w_d"], ["y"])]  # fmt: skip
    model = model_of(nodes, {"x": floats(3, 5)}, {"w": array(5, 4, dtype=np.int8), "scale": np.float32(1)})
    graph = read_cost(save(model, tmp_path / "a.onnx"))
    (node,) = graph.nodes
    assert node.cost.counts == cost.Counts(60, 60, 120)
    assert graph.tensors["w"] == ((5, 4), "int8", 20, True)


def test_operators_without_a_rule_have_no_cost(tmp_path):
    result = [helper.make_tensor_value_info("y", *floats(3))]
    custom = model_of([helper.make_node("Relu", ["x"], ["y"], domain="custom")], {"x": floats(3)}, outputs=result)
    branch = helper.make_graph([helper.make_node("Add", ["x", "w"], ["z"])], "branch", [], [helper.make_tensor_value_info("z", *floats(3))])  # fmt: skip
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    conditional = model_of([choice], {"x": floats(3), "c": (TensorProto.BOOL, ())}, {"w": array(3)}, outputs=result)
    for model in (custom, conditional):
        graph = read_cost(save(model, tmp_path / "a.onnx"))
        assert [node.cost for node in graph.nodes] == [None]
    assert graph.nodes[0].inputs == ("c", "x", "w")


def test_weights_inside_of_conditionals_are_parameters(tmp_path):
    def branch(name, *shapes):
        result, weights = helper.make_tensor_value_info("z", *floats(3, 4)), [array(*shape) for shape in shapes]
        constant = helper.make_node("Constant", [], ["bias"], value=onnx.numpy_helper.from_array(weights[1]))
        nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "bias"], ["s"]), helper.make_node("Add", ["s", "shared"], ["z"])]  # fmt: skip
        return helper.make_graph(
            [constant, *nodes], name, [], [result], [onnx.numpy_helper.from_array(weights[0], "w")]
        )

    outer = helper.make_graph([helper.make_node("If", ["c"], ["z"], then_branch=branch("a", (5, 4), (4,)), else_branch=branch("b", (5, 1), (1,)))], "outer", [], [helper.make_tensor_value_info("z", *floats(3, 4))])  # fmt: skip
    choice = helper.make_node("If", ["c"], ["y"], then_branch=outer, else_branch=branch("d", (5, 4), (4,)))
    inputs = {"x": floats(3, 5), "c": (TensorProto.BOOL, ())}
    result = [helper.make_tensor_value_info("y", *floats(3, 4))]
    found = cost.analyze_graph(read_cost(save(model_of([choice], inputs, {"shared": array(4)}, outputs=result), tmp_path / "a.onnx")))  # fmt: skip
    assert found.total.parameters == 24 + 6 + 24 + 4
    assert found.total.unknown == {"If": 1}


def test_functions_of_a_file_are_followed(tmp_path):
    inner = helper.make_function("custom", "Twice", ["a"], ["c"], [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Exp", ["b"], ["c"])], [helper.make_opsetid("", 21)])  # fmt: skip
    model = model_of([helper.make_node("Twice", ["x"], ["y"], domain="custom")], {"x": floats(3)})
    model.functions.append(inner)
    assert [node.operation for node in read_cost(save(model, tmp_path / "a.onnx")).nodes] == ["Relu", "Exp"]


def test_weights_in_another_file_are_not_read(tmp_path):
    model = one("MatMul", {"a": (3, 100)}, {"b": array(100, 40)})
    onnx.save(model, tmp_path / "a.onnx", save_as_external_data=True, size_threshold=0, location="a.data")
    (tmp_path / "a.data").unlink()
    graph = read_cost(tmp_path / "a.onnx")
    assert total(graph).macs == 12000
    assert graph.tensors["b"] == ((100, 40), "float32", 16000, True)


OPEN = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": floats("n", 3, "height", "width")})
CUSTOM = model_of(
    [helper.make_node("Mine", ["x"], ["z"], domain="custom"), helper.make_node("Relu", ["z"], ["y"])], {"x": floats(3)}
)


@pytest.mark.parametrize(
    ("error", "message", "name", "content"),
    [
        (ValueError, r"`path` must end in .onnx or .tflite, got '.*a\.pt'", "a.pt", b""),
        (FileNotFoundError, r"there is no file '.*a\.onnx'", "a.onnx", None),
        (ValueError, r"a\.onnx' is no ONNX file, or is damaged", "a.onnx", b"not a model"),
        (ValueError, r"a\.onnx' is no ONNX file, or is damaged", "a.onnx", OPEN.SerializeToString()[:-20]),
        (ValueError, r"a\.onnx' is no ONNX file, or is damaged: it has no nodes", "a.onnx", b""),
        (ValueError, r"the input 'x' of this ONNX file has open sizes, \[1, 3, height, width\]; only the first", "a.onnx", OPEN.SerializeToString()),
        (ValueError, r"the shape of the tensor 'z' at the node '' \(custom.Mine\) of this ONNX file is unknown", "a.onnx", CUSTOM.SerializeToString()),
        (ValueError, r"a\.tflite' is no LiteRT file", "a.tflite", b"not a model"),
        (ValueError, r"a\.tflite' is damaged, or has a form that is not known", "a.tflite", b"\x1c\0\0\0TFL3" + b"\xff" * 60),
    ],
    ids=lambda value: value[-30:] if isinstance(value, str) else "",
)  # fmt: skip
def test_mistakes_are_explained(error, message, name, content, tmp_path):
    if name.endswith("tflite"):
        pytest.importorskip("litert_converter")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        read_cost(tmp_path / name)


def test_a_batch_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="`batch` must be a positive int, got 0"):
        read_cost(save(OPEN, tmp_path / "a.onnx"), batch=0)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = save(OPEN, tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'jds\[onnx\]'"):
        read_cost(path)


# Operators of LiteRT: its number, options, shapes of the inputs (with a dtype, if they are not activations in float),
# shape of the result, and what it costs.
OF_LITERT = {
    "CONV_2D": (3, ("Conv2D", {"padding": 0, "strideH": 2, "strideW": 2, "fusedActivationFunction": 3}), [(1, 6, 6, 8), ("w", 4, 3, 3, 8), ("w", 4)], (1, 3, 3, 4), "ordinary", 36 * 72, 72 * 72 + 3 * 36, 0, 0),
    "CONV_2D in groups": (3, ("Conv2D", {"padding": 1, "strideH": 1, "strideW": 1}), [(1, 6, 6, 8), ("w", 4, 3, 3, 4)], (1, 4, 4, 4), "grouped", 64 * 36, 128 * 36, 0, 0),
    "DEPTHWISE_CONV_2D": (4, ("DepthwiseConv2D", {"padding": 1, "strideH": 1, "strideW": 1}), [(1, 6, 6, 8), ("w", 1, 3, 3, 16)], (1, 4, 4, 16), "depthwise", 16 * 16 * 9, 32 * 16 * 9, 0, 0),
    "TRANSPOSE_CONV": (67, ("TransposeConv", {"padding": 1, "strideH": 2, "strideW": 2}), [("s", 4), ("w", 4, 2, 2, 8), (1, 6, 6, 8)], (1, 12, 12, 4), "ordinary", 144 * 4 * 8, 288 * 4 * 8, 0, 0),
    "FULLY_CONNECTED": (9, ("FullyConnected", {}), [(3, 5), ("w", 7, 5), ("w", 7)], (3, 7), "dense", 105, 210 + 21, 0, 0),
    "FULLY_CONNECTED with rounded weights": (9, ("FullyConnected", {}), [(3, 5), ("q", 7, 5)], (3, 7), "dense", 105, 15 * 6, 0, 210),
    "BATCH_MATMUL": (126, ("BatchMatMul", {"adjY": True}), [(2, 3, 5), (2, 7, 5)], (2, 3, 7), "batched", 210, 420, 0, 0),
    "MAX_POOL_2D": (17, ("Pool2D", {"padding": 1, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}), [(1, 6, 6, 8)], (1, 3, 3, 8), "reduction", 0, 72 * 3, 0, 0),
    "AVERAGE_POOL_2D": (1, ("Pool2D", {"padding": 1, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}), [(1, 6, 6, 8)], (1, 3, 3, 8), "reduction", 0, 72 * 4, 0, 0),
    "MEAN": (40, ("Reducer", {}), [(1, 6, 6, 8), ("s", 2)], (1, 8), "reduction", 0, 36 * 8, 0, 0),
    "SOFTMAX": (25, ("Softmax", {"beta": 1.0}), [(3, 5)], (3, 5), "element-wise", 0, 60 - 6, 15, 0),
    "GELU": (150, ("Gelu", {"approximate": True}), [(3, 5)], (3, 5), "element-wise", 0, 120, 15, 0),
    "ADD": (0, ("Add", {"fusedActivationFunction": 1}), [(3, 5), ("w", 5)], (3, 5), "element-wise", 0, 30, 0, 0),
    "RESIZE_BILINEAR": (23, ("ResizeBilinear", {}), [(1, 6, 6, 8), ("s", 2)], (1, 12, 12, 8), "element-wise", 0, 144 * 8 * 7, 0, 0),
    "RESHAPE": (22, ("Reshape", {}), [(3, 5), ("s", 1)], (15,), "data movement", 0, 0, 0, 0),
    "WHILE": (119, ("While", {}), [(3, 5)], (3, 5), None, 0, 0, 0, 0),
}  # fmt: skip


def tflite_model(code, options, inputs, result, signature=None):
    """A model of one operator; inputs that begin with a letter are constants: weights, in int8, or sizes."""
    from jds.exporting.litert._model import packed, schema

    s = schema()
    kinds = {"w": (s.TensorType.FLOAT32, 4), "q": (s.TensorType.INT8, 1), "s": (s.TensorType.INT32, 4)}
    tensors, buffers = [], [s.BufferT()]
    for place, shape in enumerate([*inputs, result]):
        tensor = s.TensorT()
        tensor.name, tensor.buffer, tensor.hasRank = f"jit(f)/layer/t{place}", 0, True
        tensor.shape = [size for size in shape if isinstance(size, int)]
        if isinstance(shape[0], str):
            tensor.type, itemsize = kinds[shape[0]]
            tensor.buffer = len(buffers)
            buffers.append(s.BufferT())
            buffers[-1].data = np.ones(math.prod(tensor.shape) * itemsize, np.uint8)
        if shape[0] == "q":
            tensor.quantization = s.QuantizationParametersT()
            tensor.quantization.scale = [0.5]
        if signature is not None and not tensor.buffer:
            tensor.shapeSignature = [*signature, *tensor.shape[len(signature) :]]
        tensors.append(tensor)
    operator, graph, model, kind = s.OperatorT(), s.SubGraphT(), s.ModelT(), s.OperatorCodeT()
    name, values = options
    operator.builtinOptionsType = getattr(s.BuiltinOptions, f"{name}Options")
    operator.builtinOptions = getattr(s, f"{name}OptionsT")()
    vars(operator.builtinOptions).update(values)
    operator.inputs, operator.outputs = [*range(len(inputs))], [len(inputs)]
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs = [place for place, shape in enumerate(inputs) if isinstance(shape[0], int)]
    graph.outputs = operator.outputs
    kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, min(code, 127), 1
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [kind], buffers
    return packed(model)


@pytest.mark.parametrize("name", OF_LITERT, ids=lambda name: f"tflite {name}")
def test_operators_of_litert(name, tmp_path):
    *model, kind, macs, flops, transcendentals, integers = OF_LITERT[name]
    (tmp_path / "a.tflite").write_bytes(tflite_model(*model))
    graph = read_cost(tmp_path / "a.tflite")
    (node,) = graph.nodes
    assert (node.layer, node.operation) == ("layer", name.split()[0])
    assert node.cost == (kind and cost.Cost(kind, cost.Counts(macs, macs, flops, transcendentals, integers)))
    constants = [shape[1:] for shape in model[2] if shape[0] in ("w", "q")]
    assert [tensor.shape for tensor in parameters(graph)] == constants


def test_an_open_batch_of_tflite_is_chosen(tmp_path):
    code, options, _, _ = OF_LITERT["GELU"][:4]
    (tmp_path / "a.tflite").write_bytes(tflite_model(code, options, [(1, 5)], (1, 5), signature=(-1,)))
    assert total(read_cost(tmp_path / "a.tflite", batch=4)).transcendentals == 20
    (tmp_path / "a.tflite").write_bytes(tflite_model(code, options, [(1, 1)], (1, 1), signature=(-1, -1)))
    with pytest.raises(ValueError, match=r"of this LiteRT file has open sizes, \[-1, -1\]"):
        read_cost(tmp_path / "a.tflite")


def test_operators_that_tflite_does_not_have_have_no_cost(tmp_path):
    from jds.exporting.litert._model import packed, read

    path = written(network("mobilenetv3_small_050"), tmp_path / "a.tflite")
    model = read(path.read_bytes())
    for code in model.operatorCodes:
        if code.builtinCode == 117:  # HARD_SWISH
            code.builtinCode = code.deprecatedBuiltinCode = 32
            code.customCode = b"Mine"
    path.write_bytes(packed(model))
    unknown = {node.operation for node in read_cost(path).nodes if node.cost is None}
    assert unknown == {"Mine"}


def test_padding_is_not_in_the_lower_bound_of_a_file(tmp_path):
    path = written(network("mobilenetv2_035"), tmp_path / "model.onnx")
    peak = cost.Peak("arithmetic", {"float32": 1.0}, bytes=math.inf, source="")
    with_padding, without = (
        cost.analyze_graph(read_cost(path, count_padding=count_padding)) for count_padding in (True, False)
    )
    bounds = {cost.estimate(each, peak).total.seconds for each in (with_padding, without)}
    assert len(bounds) == 1
    assert 2 * without.total.macs < bounds.pop() <= without.total.flops < with_padding.total.flops
