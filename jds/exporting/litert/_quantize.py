"""Smaller weights, by `litert-quantizer`: int8 with activations in int8, or float16."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from jds.exporting._formats import Calibration, counted, require
from jds.exporting._layers import Layer
from jds.exporting._photographs import batches
from jds.exporting._quiet import quiet
from jds.exporting.litert._model import described_operations, kind_of, packed, read, result_names

SIGNATURE = "serving_default"
_AROUND = {"QUANTIZE", "DEQUANTIZE"}
_WITH_BIAS, _BIAS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}, 2


def quantized(content: bytes, calibration: Calibration, input_name: str, batch: int) -> bytes:
    """Returns the file in int8: weights per channel, activations from the least to the greatest on the photographs.

    Inputs and outputs stay in float. The scheme is that of https://arxiv.org/abs/1806.08342.
    """
    modules = _modules()
    content = _with_flat_biases(content)
    images = [{input_name: part} for part in batches(calibration.images, batch)]
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it keeps all tensors, as a calibration must
        quantizer = modules.quantizer.Quantizer(content)
        quantizer.load_quantization_recipe(modules.recipe.static_wi8_ai8())
        for operation in (modules.qtyping.TFLOperationName.INPUT, modules.qtyping.TFLOperationName.OUTPUT):
            _leave(quantizer, ".*", operation)
        names = result_names(read(content))
        for layer in calibration.in_float:
            _leave(quantizer, _pattern(layer, names), modules.qtyping.TFLOperationName.ALL_SUPPORTED)
        recipes = modules.recipe_manager.RecipeManager()
        recipes.load_quantization_recipe(quantizer.get_quantization_recipe())
        # The quantizer's own calibration averages the ranges of the images, which cuts off the largest values.
        calibrator = modules.calibrator.Calibrator(content, qsv_update_func=modules.qsv_utils.min_max_update)
        calibrator.calibrate({SIGNATURE: images}, recipes)
        result = quantizer.quantize(calibrator.get_model_qsvs(), enable_progress_report=False)
    return bytes(result.quantized_model)


def with_float16_weights(content: bytes) -> bytes:
    """Returns the file with weights in float16, which are cast back to float32 when it is loaded."""
    modules = _modules()
    names = modules.qtyping.TFLOperationName
    with quiet():
        quantizer = modules.quantizer.Quantizer(content)
        for operation in (names.CONV_2D, names.DEPTHWISE_CONV_2D, names.FULLY_CONNECTED):
            quantizer.add_weight_only_config(
                ".*", operation, num_bits=16, algorithm_key=modules.recipe.AlgorithmName.FLOAT_CASTING
            )
        result = quantizer.quantize(enable_progress_report=False)
    return bytes(result.quantized_model)


def left_in_float(model: Any) -> dict[str, int]:
    """Returns the number of operations that compute in float, by kind."""
    kinds = (
        operation.kind
        for operation in described_operations(model)
        if operation.kind not in _AROUND and "float32" in operation.output_dtypes
    )
    return counted(kinds)


def _with_flat_biases(content: bytes) -> bytes:
    """Returns the file with biases of rank 1, as the quantizer takes them.

    Where the converter folds a scale into a layer, the bias keeps the scale's rank; the quantizer then gives the scales
    of the channels to its first axis, and the file cannot be loaded.
    """
    model = read(content)
    changed = False
    for graph in model.subgraphs:
        for operator in graph.operators:
            bias = operator.inputs[_BIAS] if len(operator.inputs) > _BIAS else -1
            if kind_of(model, operator) in _WITH_BIAS and bias >= 0 and len(graph.tensors[bias].shape) > 1:
                graph.tensors[bias].shape = [int(np.prod(graph.tensors[bias].shape))]
                changed = True
    return packed(model) if changed else content


def _leave(quantizer: Any, pattern: str, operation: Any) -> None:
    quantizer.update_quantization_recipe(regex=pattern, operation_name=operation, algorithm_key="no_quantize")


def _pattern(layer: Layer, names: Sequence[str]) -> str:
    """Returns a pattern for the name of a layer's result among these names.

    The name of a tensor joins those of the equations that its operation stands for. Only results of the whole graph are
    named otherwise.
    """
    pattern = rf"(^|.*[;/)]){re.escape(layer.name)}/(conv_general_dilated|dot_general)\d*(;.*|$)"
    return pattern if any(re.match(pattern, name) for name in names) else f"{SIGNATURE}_.*"


class _Modules:
    """The modules of the package, which is imported when it is needed."""

    def __init__(self):
        self.quantizer, self.calibrator, self.recipe, self.recipe_manager, self.qtyping, self.qsv_utils = (
            require(f"litert_quantizer.{name}", "litert", "LiteRT in int8")
            for name in ("quantizer", "calibrator", "recipe", "recipe_manager", "qtyping", "utils.qsv_utils")
        )


def _modules() -> Any:
    with quiet():
        return _Modules()
