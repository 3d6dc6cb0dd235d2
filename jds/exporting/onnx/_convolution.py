"""Convolutions."""

from typing import Any

import numpy as np

from jds.exporting._equations import Equation
from jds.exporting.onnx._shapes import padded
from jds.exporting.onnx._tensors import Tensor
from jds.exporting.onnx._writer import UnsupportedError, Writer, graph_dtype, handles


@handles("conv_general_dilated")
def _convolution(writer: Writer, equation: Equation, images: Any, kernel: Any) -> Tensor:
    params, out = equation.params, equation.outputs[0].aval
    numbers = params["dimension_numbers"]
    if params["batch_group_count"] != 1:
        raise UnsupportedError("a convolution with batch groups, as in the gradient of a kernel, has no ONNX form")
    if graph_dtype(out.dtype).kind != "f":
        raise UnsupportedError(f"a convolution of {out.dtype} has no ONNX form")
    if not isinstance(images, Tensor):
        raise UnsupportedError("a convolution of constant images with a kernel that depends on the inputs")
    images = writer.in_order(writer.full(images), numbers.lhs_spec)
    weights = writer.in_order(writer.full(kernel), numbers.rhs_spec)
    weights = np.ascontiguousarray(weights) if isinstance(weights, np.ndarray) else weights
    if any(dilation != 1 for dilation in params["lhs_dilation"]):
        return writer.tensor(_transposed(writer, images, weights, params), out.shape, numbers.out_spec, out.dtype)
    if any(side < 0 for pair in params["padding"] for side in pair):
        cut = dict(zip(numbers.lhs_spec[2:], params["padding"], strict=True))
        pairs = (cut.get(axis, (0, 0)) for axis in range(len(images.shape)))
        images = padded(writer, images, [(min(0, low), min(0, high)) for low, high in pairs], np.zeros(()))
    node = writer.add(
        "Conv",
        images,
        weights,
        kernel_shape=[int(size) for size in _stored_shape(weights)[2:]],
        strides=list(params["window_strides"]),
        pads=[max(0, pair[side]) for side in (0, 1) for pair in params["padding"]],
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return writer.tensor(node, out.shape, numbers.out_spec, out.dtype)


def _transposed(writer: Writer, images: Tensor, weights: Any, params: dict[str, Any]) -> Any:
    """Adds a convolution with dilated images, which is the transpose of one with strides."""
    if any(stride != 1 for stride in params["window_strides"]) or not isinstance(weights, np.ndarray):
        raise UnsupportedError("a convolution of dilated images with strides, or with a kernel that is not constant")
    groups, spatial = params["feature_group_count"], weights.shape[2:]
    out_features, in_features = weights.shape[0] // groups, weights.shape[1]
    grouped = weights.reshape(groups, out_features, in_features, *spatial).swapaxes(1, 2)
    flipped = np.flip(grouped, tuple(range(3, 3 + len(spatial)))).reshape(groups * in_features, out_features, *spatial)
    starts, ends, more = [], [], []
    for size, dilation, (low, high) in zip(spatial, params["rhs_dilation"], params["padding"], strict=True):
        reach = (size - 1) * dilation
        starts.append(reach - low)
        ends.append(max(0, reach - high))
        more.append(max(0, high - reach))
    if min(starts) < 0 or any(n >= stride for n, stride in zip(more, params["lhs_dilation"], strict=True)):
        raise UnsupportedError(f"a transposed convolution with this padding, {params['padding']}, has no ONNX form")
    return writer.add(
        "ConvTranspose",
        images,
        np.ascontiguousarray(flipped),
        kernel_shape=list(spatial),
        strides=list(params["lhs_dilation"]),
        pads=starts + ends,
        output_padding=more if any(more) else None,
        dilations=list(params["rhs_dilation"]),
        group=groups,
    )


def _stored_shape(weights: Any) -> tuple[Any, ...]:
    return weights.shape if isinstance(weights, np.ndarray) else weights.stored
