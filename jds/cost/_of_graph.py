"""The analysis of an exported file, from what its reader hands over."""

import jax

from jds.cost._analysis import Analysis, summarize
from jds.cost._graph import Graph, Tensor
from jds.cost._program import Conventions, Operation, Program, Value, check_count_padding
from jds.cost.rules import Equation

# The result is the operand under another shape.
_SAME = frozenset((
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "RESHAPE", "SQUEEZE", "EXPAND_DIMS",
))  # fmt: skip


def analyze_graph(graph: Graph, *, count_padding: bool = True) -> Analysis:
    """Returns the analysis of an exported file.

    Args:
      graph: what `jds.exporting.read_cost` returns.
      count_padding: the option with which it was read.

    Returns:
      The analysis, by the layers that the file names.

    Raises:
      TypeError: `graph` is no `Graph`.
      ValueError: `count_padding` is no Boolean.

    Example:
      >>> from jds import cost
      >>> tensors = {name: cost.Tensor((8,), "float32", 32, False) for name in ("x", "y")}
      >>> relu = cost.Node("act", "Relu", ("x",), ("y",), cost.Cost("element-wise", cost.Counts(flops=8)))
      >>> graph = cost.Graph("example", tensors, (relu,), ("x",), ("y",))
      >>> cost.analyze_graph(graph).total.flops
      8
    """
    if not isinstance(graph, Graph):
        raise TypeError(
            f"analyze_graph: `graph` must be a `jds.cost.Graph`, as `jds.exporting.read_cost` returns, got "
            f"{type(graph).__name__}"
        )
    check_count_padding("analyze_graph", count_padding)
    program = Program(Conventions(count_padding, "cpu", None), is_file=True)
    number_of: dict[str, int] = {}

    def add(name: str, made_by: int | None = None) -> int:
        tensor = graph.tensors[name]
        number_of[name] = len(program.values)
        value = Value(tensor.shape, jax.numpy.dtype(tensor.dtype), tensor.bytes, made_by=made_by)
        program.values.append(value)
        if made_by is None:
            value.role = "parameter" if tensor.is_parameter else "argument"
            value.parameter = number_of[name] if tensor.is_parameter else None
            program.inputs.append(number_of[name])
        return number_of[name]

    def number_for(name: str) -> int:
        """Returns the number of an array, which may be a constant that was not used before."""
        return number_of[name] if name in number_of else add(name)

    for name in graph.inputs:
        add(name)
    for node in graph.nodes:
        operands = tuple(number_for(name) for name in node.inputs if name)
        number = len(program.operations)
        equation = Equation(
            node.operation,
            [_aval(graph.tensors[name]) for name in node.inputs if name],
            [_aval(graph.tensors[name]) for name in node.outputs if name],
            {} if node.without_padding is None else {"without_padding": node.without_padding},
        )
        operation = Operation(equation, node.operation, node.cost, tuple(node.layer.split("/")) if node.layer else ())
        if node.operation in _SAME and operands:
            number_of |= dict.fromkeys(node.outputs[:1], operands[0])
            program.operations.append(operation)
            continue
        outputs = tuple(add(name, number) for name in node.outputs if name)
        is_elementwise = node.cost is not None and node.cost.kind == "element-wise"
        operation = operation._replace(operands=operands, outputs=outputs, is_elementwise=is_elementwise)
        program.operations.append(operation)
        for operand in operation.inputs:
            program.values[operand].used_by.append(number)
            if program.values[operand].parameter is not None:
                program.first_readers.setdefault(operand, number)
    program.results += dict.fromkeys(number_for(name) for name in graph.outputs)
    for number in program.results:
        program.values[number].used_by.append(None)
    return summarize(program, graph.name)


def _aval(tensor: Tensor) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tensor.shape, jax.numpy.dtype(tensor.dtype))
