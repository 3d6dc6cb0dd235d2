"""ONNX Runtime and OpenVINO, on the same ONNX graph in their native layout, NCHW."""

from typing import Any

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]
from onnx import helper, numpy_helper  # pyright: ignore[reportMissingImports]

from benchmarks.harness.worker import Program
from benchmarks.peers import mobilenet_v1


def graph(spec: dict[str, Any]) -> bytes:
    """MobileNet V1 in evaluation mode, batch normalization folded into the convolutions."""
    weights = mobilenet_v1.load(spec)
    nodes, constants = [], []

    def node(kind: str, value: str, arrays: dict[str, np.ndarray] | None = None, **attributes: Any) -> str:
        arrays = arrays or {}
        constants.extend(numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items())
        nodes.append(helper.make_node(kind, [value, *arrays], [f"{kind} {len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    value = "images"
    for row in mobilenet_v1.convolutions(weights):
        kernel, bias = mobilenet_v1.folded(weights, row)
        value = node(
            "Conv",
            value,
            {row.kernel: kernel.transpose(3, 2, 0, 1), f"{row.kernel} bias": bias},
            strides=[row.stride] * 2,
            auto_pad="SAME_UPPER",
            group=row.groups,
        )
        value = node("Relu", value)
    value = node("Flatten", node("GlobalAveragePool", value))
    names = ("classifier.kernel", "classifier.bias")
    value = node("Gemm", value, {name: weights[name] for name in names})
    images = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, nchw(spec).shape)
    logits = helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, [spec["batch"], 1000])
    whole = helper.make_graph(nodes, "MobileNet V1", [images], [logits], constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def nchw(spec: dict[str, Any]) -> np.ndarray:
    return np.ascontiguousarray(mobilenet_v1.images(spec).transpose(0, 3, 1, 2))


def onnxruntime(spec: dict[str, Any]) -> Program:
    """ONNX Runtime; its threads spin during a call, as by default, but not after it."""
    import onnxruntime as ort  # pyright: ignore[reportMissingImports]

    model, images = graph(spec), nchw(spec)
    options = ort.SessionOptions()
    options.intra_op_num_threads = spec["threads"]

    def compile():
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"images": images})

    return Program(compile, lambda out: {"out": out[0]})


def openvino(spec: dict[str, Any]) -> Program:
    """OpenVINO in float32, tuned for latency; without the precision hint it would use bfloat16 on CPUs that have it."""
    import openvino as ov  # pyright: ignore[reportMissingImports]

    model, images = graph(spec), nchw(spec)
    settings = {
        "INFERENCE_NUM_THREADS": spec["threads"],
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }

    def compile():
        core = ov.Core()
        request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
        return lambda: request.infer({0: images}, share_inputs=True, share_outputs=True)

    return Program(compile, lambda out: {"out": np.array(out[0])})
