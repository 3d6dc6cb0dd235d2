"""ONNX, https://onnx.ai: arrays are stored with channels first, and known functions are written as single nodes."""

from jds.exporting.onnx._model import convert as convert
from jds.exporting.onnx._model import layers as layers
from jds.exporting.onnx._model import newest_opset as newest_opset
from jds.exporting.onnx._model import signature as signature
