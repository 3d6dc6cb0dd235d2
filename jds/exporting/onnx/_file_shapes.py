"""Shapes and dtypes of all arrays of an ONNX file."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper

from jds.exporting._counting import Array
from jds.exporting._unreadable import UnreadableError


def infer_shapes(model: ModelProto, batch: int) -> dict[str, Array]:
    """Finds shapes and dtypes by ONNX's shape inference.

    Args:
      model: the model, whose sizes of batches are set.
      batch: the size of a batch that the file leaves open.

    Returns:
      The arrays by their names, without those that are unknown.

    Raises:
      UnreadableError: an input has open sizes besides the batch, or the shapes contradict each other.
    """
    _set_batch(model.graph, batch)
    known = ModelProto()
    known.CopyFrom(model)
    del known.graph.node[:]
    for node in model.graph.node:
        stand_in = _STAND_INS.get(node.op_type) if node.domain == "com.microsoft" else None
        known.graph.node.extend(stand_in(node) if stand_in else [node])
    arrays = _inferred(known)
    while not _are_complete(known.graph, arrays):
        sizes: Any = importlib.import_module("jds.exporting.onnx._file_sizes")  # evaluating takes long to import
        if not sizes.with_sizes(known, arrays):
            break
        arrays = _inferred(known)
    return arrays


def _are_complete(graph: GraphProto, arrays: Mapping[str, Array]) -> bool:
    return all(name in arrays for node in graph.node for name in node.output if name)


def _inferred(model: ModelProto) -> dict[str, Array]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # it raises exceptions of several kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UnreadableError(f"read_cost: the shapes of this ONNX file contradict each other: {reason}") from error
    arrays = {tensor.name: stored_array(tensor) for tensor in model.graph.initializer}
    arrays |= {tensor.values.name: sparse_array(tensor) for tensor in model.graph.sparse_initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        array = _array(value.type)
        if array is not None:
            arrays.setdefault(value.name, array)
    return arrays


def stored_array(tensor: TensorProto) -> Array:
    """Returns shape and dtype of a constant."""
    return Array(tuple(tensor.dims), helper.tensor_dtype_to_np_dtype(tensor.data_type))


def sparse_array(tensor: onnx.SparseTensorProto) -> Array:
    """Returns shape and dtype of a sparse constant."""
    return Array(tuple(tensor.dims), helper.tensor_dtype_to_np_dtype(tensor.values.data_type))


def _array(kind: TypeProto) -> Array | None:
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape") or not kind.tensor_type.elem_type:
        return None
    sizes = kind.tensor_type.shape.dim
    if not all(size.HasField("dim_value") for size in sizes):
        return None
    dtype = helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
    return Array(tuple(size.dim_value for size in sizes), dtype)


def _set_batch(graph: GraphProto, batch: int) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    firsts = [value.type.tensor_type.shape.dim[0] for value in inputs if value.type.tensor_type.shape.dim]
    names = {size.dim_param for size in firsts if size.dim_param}
    for size in firsts:
        if not size.HasField("dim_value"):
            size.dim_value = batch
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_value = batch
    for value in inputs:
        if _array(value.type) is None:
            raise UnreadableError(_about_open_sizes(value))


def _about_open_sizes(value: onnx.ValueInfoProto) -> str:
    if not value.type.HasField("tensor_type"):
        return f"read_cost: the input {value.name!r} of this ONNX file is no array, and cannot be counted"
    sizes = value.type.tensor_type.shape.dim
    shown = ", ".join(size.dim_param or (str(size.dim_value) if size.HasField("dim_value") else "?") for size in sizes)
    shape = f"open sizes, [{shown}]" if sizes else "no shape"
    return (
        f"read_cost: the input {value.name!r} of this ONNX file has {shape}; only the first size is replaced, by "
        "`batch`. Write a file with all sizes: python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name "
        f"{value.name} --input_shape 1,3,224,224 OLD.onnx NEW.onnx"
    )


# ONNX Runtime's own operators, which ONNX knows no shapes of: standard ones whose results have the same shapes.

_WINDOW = ("auto_pad", "ceil_mode", "dilations", "group", "kernel_shape", "pads", "strides")
_StandIn = Callable[[NodeProto], Sequence[NodeProto]]


def _like(kind: str, *places: int, attributes: Sequence[str] = (), dtype: int | None = None) -> _StandIn:
    """Returns a maker of a standard operator of some inputs and attributes, whose result is then cast to a dtype."""

    def make(node: NodeProto) -> list[NodeProto]:
        inputs = [node.input[place] for place in places or (0,)]
        kept = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name in attributes}
        result = node.output[0]
        if dtype is None:
            return [helper.make_node(kind, inputs, [result], **kept)]
        before = f"{result}/uncast"
        cast = helper.make_node("Cast", [before], [result], to=dtype)
        return [helper.make_node(kind, inputs, [before], **kept), cast]

    return make


def _unless(attribute: str, stand_in: _StandIn) -> _StandIn:
    """Returns a maker for nodes without an attribute; the shapes of others stay unknown."""

    def make(node: NodeProto) -> Sequence[NodeProto]:
        values = attributes_of(node)
        return [node] if values.get(attribute) else stand_in(node)

    return make


def _joined(node: NodeProto) -> list[NodeProto]:
    return [helper.make_node("Concat", node.input[2::3], node.output[:1], axis=attributes_of(node)["axis"])]


def _packed_product(node: NodeProto) -> list[NodeProto]:
    values, weights = attributes_of(node), f"{node.output[0]}/weights"
    stub = TensorProto(dims=[values["K"], values["N"]], data_type=TensorProto.FLOAT)
    return [
        helper.make_node("Constant", [], [weights], value=stub),
        helper.make_node("MatMul", [node.input[0], weights], node.output[:1]),
    ]


def _rounded_product(node: NodeProto) -> Sequence[NodeProto]:
    is_rounded = len(node.input) > 7 and node.input[7]
    names = ("transA", "transB")
    return _like("Gemm", 0, 3, attributes=names, dtype=None if is_rounded else TensorProto.FLOAT)(node)


def _standard(node: NodeProto) -> list[NodeProto]:
    same = NodeProto()
    same.CopyFrom(node)
    same.domain = ""
    return [same]


_STAND_INS: dict[str, _StandIn] = {
    "BiasGelu": _like("Identity"),
    "DequantizeLinear": _standard,
    "DynamicQuantizeMatMul": _like("MatMul", 0, 1),
    "FastGelu": _like("Identity"),
    "FusedConv": _like("Conv", 0, 1, attributes=_WINDOW),
    "FusedGemm": _like("Gemm", 0, 1, attributes=("transA", "transB")),
    "FusedMatMul": _unless("transA", _unless("transB", _like("MatMul", 0, 1))),
    "Gelu": _like("Identity"),
    "MatMulNBits": _packed_product,
    "MatMulIntegerToFloat": _like("MatMul", 0, 1, dtype=TensorProto.FLOAT),
    "QGemm": _rounded_product,
    "QLinearAdd": _like("Add", 0, 3),
    "QLinearAveragePool": _unless("channels_last", _like("MaxPool", attributes=_WINDOW)),
    "QLinearConcat": _joined,
    "QLinearGlobalAveragePool": _unless("channels_last", _like("GlobalMaxPool")),
    "QLinearLeakyRelu": _like("Identity"),
    "QLinearMul": _like("Add", 0, 3),
    "QLinearSigmoid": _like("Identity"),
    "QLinearSoftmax": _like("Identity"),
    "QuantizeLinear": _standard,
    "QuickGelu": _like("Identity"),
    "SimplifiedLayerNormalization": _like("Identity"),
    "SkipLayerNormalization": _like("Identity"),
    "SkipSimplifiedLayerNormalization": _like("Identity"),
}


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Returns the attributes of a node; texts are decoded, graphs are left out."""
    return dict(_attributes(node))


def _attributes(node: NodeProto) -> Iterator[tuple[str, Any]]:
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) or attribute.ref_attr_name:
            continue
        value = helper.get_attribute_value(attribute)
        if isinstance(value, list):
            value = [one.decode(errors="replace") if isinstance(one, bytes) else one for one in value]
        yield attribute.name, value.decode(errors="replace") if isinstance(value, bytes) else value


def known(arrays: Mapping[str, Array], name: str, node: NodeProto) -> Array:
    """Returns an array of a node.

    Raises:
      UnreadableError: its shape is unknown.
    """
    if name in arrays:
        return arrays[name]
    kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    raise UnreadableError(
        f"read_cost: the shape of the tensor {name!r} at the node {node.name!r} ({kind}) of this ONNX file is unknown: "
        "it depends on data, or on an operator that ONNX has no shapes of; store it as value_info "
        "(python -m onnxruntime.tools.symbolic_shape_infer --input OLD.onnx --output NEW.onnx), or count the part "
        "before the node (onnx.utils.extract_model)"
    )
