"""ONNX Runtime, OpenVINO and LiteRT, on exported files, each in its native layout."""

import importlib
from typing import Any

import numpy as np

from benchmarks.harness.worker import Program
from benchmarks.peers import exported, mobilenet_v1


def onnxruntime(spec: dict[str, Any]) -> Program:
    """ONNX Runtime; its threads spin during a call, as by default, but not after it."""
    runtime = importlib.import_module("onnxruntime")
    path, images = exported.file(spec, ".onnx"), nchw(spec)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = spec["threads"]

    def compile():
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"images": images})

    return Program(compile, lambda out: {"out": out[0]})


def openvino(spec: dict[str, Any]) -> Program:
    """OpenVINO in float32, tuned for latency; without the precision hint it would use bfloat16 on CPUs that have it."""
    runtime = importlib.import_module("openvino")
    path, images = exported.file(spec, ".onnx"), nchw(spec)
    settings = {
        "INFERENCE_NUM_THREADS": spec["threads"],
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }

    def compile():
        core = runtime.Core()
        request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
        return lambda: request.infer({0: images}, share_inputs=True, share_outputs=True)

    return Program(compile, lambda out: {"out": np.array(out[0])})


def litert(spec: dict[str, Any]) -> Program:
    """LiteRT with XNNPACK, as by default."""
    runtime = importlib.import_module("ai_edge_litert.interpreter")
    path, images = exported.file(spec, ".tflite"), mobilenet_v1.images(spec)

    def compile():
        interpreter = runtime.Interpreter(str(path), num_threads=spec["threads"])
        interpreter.allocate_tensors()
        (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()

        def call():
            interpreter.set_tensor(given["index"], images)
            interpreter.invoke()
            return interpreter.get_tensor(result["index"])

        return call

    return Program(compile, lambda out: {"out": out})


def nchw(spec: dict[str, Any]) -> np.ndarray:
    return np.ascontiguousarray(mobilenet_v1.images(spec).transpose(0, 3, 1, 2))
