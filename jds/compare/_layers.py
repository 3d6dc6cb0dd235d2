"""The layers of a network, and which of them make up a depthwise separable convolution."""

import collections
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jds.cost import Analysis, Layer, analyze
from jds.cost._program import Operation
from jds.models import Network


def network_layers(model: Network, image_size: int | None = None) -> tuple[Layer, ...]:
    """Lists the layers of a network that multiply, as data to count and to time.

    A depthwise layer makes up a separable layer with the pointwise layer after it, whose ordinary form is one
    convolution from the first one's input to the second one's output. Normalization, activation and squeeze-and-excite
    may stand between the two. Where kernels of several sizes share the channels, each is a separable layer with its
    share of the pointwise layer. All other layers are the same in both forms. The matrix products of attention, which
    multiply activations with each other, are no layers.

    Args:
      model: the network, with or without arrays; it is traced for one image, in evaluation mode, and not changed.
      image_size: height and width of the images; None for those that the network was made for.

    Returns:
      The layers, in their order. A separable one is named by the scope that its two halves share.

    Raises:
      ValueError: the size is missing or not positive, or the network cannot be traced with it.

    Example:
      >>> import jds
      >>> from flax import nnx
      >>> from jds import compare, cost
      >>> model = nnx.eval_shape(lambda: jds.create_model("mobilenetv1_100"))
      >>> layers = compare.network_layers(model)
      >>> [layer.name for layer in layers][:2], layers[1].separable, len(layers)
      (['stem', 'stages/0/0'], True, 15)
      >>> cost.multiplications(layers)
      Multiplications(ordinary=4867293184, separable=568740352)
    """
    if image_size is None:
        if model.preprocessing is None:
            raise ValueError("network_layers: `image_size` must be given for a model not made by `jds.create_model`")
        image_size = model.preprocessing.image_size
    if image_size < 1:
        raise ValueError(f"network_layers: `image_size` must be positive, got {image_size}")
    model = nnx.clone(model)
    model.eval()
    images = jax.ShapeDtypeStruct((1, image_size, image_size, model.config.in_features), jnp.float32)
    return analyzed_layers(analyze(lambda model, images: model(images), model, images))


def analyzed_layers(analysis: Analysis) -> tuple[Layer, ...]:
    """Lists the layers of any program that has been analyzed for one example, as `network_layers` does.

    Args:
      analysis: of a forward pass, channels last.

    Returns:
      The layers, in their order.

    Example:
      >>> import jax, jds
      >>> from jds import compare, cost
      >>> shapes = (1, 8, 8, 4), (3, 3, 1, 4), (1, 1, 4, 16)
      >>> found = cost.analyze(jds.separable_conv, *(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes))
      >>> [(layer.in_features, layer.out_features, layer.separable) for layer in compare.analyzed_layers(found)]
      [(4, 16, True)]
    """
    return tuple(_layers(analysis))


class _Product(NamedTuple):
    """A convolution or a product with a weight matrix, with the sizes of one example.

    Attributes:
      operation: where it is from.
      number: its place in the program.
      input_size: spatial sizes and features.
      out_features: of the result.
      kernel_size, strides, padding, kernel_dilation, groups: of the convolution.
    """

    operation: Operation
    number: int
    input_size: tuple[int, ...]
    out_features: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    kernel_dilation: tuple[int, ...]
    groups: int

    @property
    def name(self) -> str:
        return "/".join(self.operation.path)

    @property
    def in_features(self) -> int:
        return self.input_size[-1]

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.in_features > 1

    @property
    def is_pointwise(self) -> bool:
        steps = {*self.kernel_size, *self.strides}
        return steps == {1} and self.groups == 1 and self.padding in ("SAME", "VALID")

    def layer(self, name: str, **others: Any) -> Layer:
        """The layer as it stands, or with other fields."""
        fields: dict[str, Any] = {
            "input_size": self.input_size,
            "out_features": self.out_features,
            "kernel_size": self.kernel_size,
            "strides": _one_for_all(self.strides),
            "padding": self.padding,
            "kernel_dilation": _one_for_all(self.kernel_dilation),
            "feature_group_count": self.groups,
            "separable": False,
        }
        return Layer(name, **(fields | others))


class _Piece(NamedTuple):
    """Channels of a depthwise convolution's result that a pointwise one reads.

    Attributes:
      reader: the pointwise convolution.
      first: the first of these channels, in the depthwise convolution's result.
      place: the same channel, in the pointwise convolution's input.
      size: how many there are.
    """

    reader: int
    first: int
    place: int
    size: int


def _layers(analysis: Analysis) -> Iterator[Layer]:
    products = {
        number: _product(operation, number)
        for number, operation in enumerate(analysis.operations)
        if operation.cost and operation.cost.counts.macs and operation.cost.kind != "attention"
    }
    pieces = _pairs(analysis.operations, products)
    halves = {piece.reader for found in pieces.values() for piece in found}
    named = []
    for number, product in products.items():
        if number in pieces:
            named += [(product, products[piece.reader], piece) for piece in pieces[number]]
        elif number not in halves:
            named.append((product, None, None))
    names = _names(named)
    for name, (product, reader, piece) in zip(names, named, strict=True):
        if reader is None:
            yield product.layer(name)
            continue
        multiplier = product.out_features // product.in_features
        yield product.layer(
            name,
            input_size=(*product.input_size[:-1], piece.size // multiplier),
            out_features=reader.out_features,
            channel_multiplier=multiplier,
            feature_group_count=1,
            separable=True,
        )


def _names(named: Sequence[tuple[_Product, _Product | None, _Piece | None]]) -> list[str]:
    """Names of layers: the scope that the two halves share; where several share it, the depthwise half's own."""
    shared = [product.name if reader is None else _shared_scope(product, reader) for product, reader, _ in named]
    often = collections.Counter(shared)
    names = [product.name if often[name] > 1 else name for name, (product, _, _) in zip(shared, named, strict=True)]
    often, seen = collections.Counter(names), collections.Counter[str]()
    for i, name in enumerate(names):
        seen[name] += 1
        if often[name] > 1:
            names[i] = f"{name} ({seen[name]})"
    return names


def _shared_scope(product: _Product, reader: _Product) -> str:
    pairs = zip(product.operation.path, reader.operation.path, strict=False)
    return "/".join(scope for scope, other in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _product(operation: Operation, number: int) -> _Product:
    equation = operation.equation
    lhs, rhs = (aval.shape for aval in equation.inputs[:2])
    (out,) = equation.outputs
    if equation.primitive == "conv_general_dilated":
        params = equation.params
        numbers = params["dimension_numbers"]
        if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
            raise NotImplementedError(f"network_layers: {operation.path} is a transposed convolution or a gradient")
        sizes = tuple(lhs[axis] for axis in numbers.lhs_spec[2:])
        kernel = tuple(rhs[axis] for axis in numbers.rhs_spec[2:])
        results = tuple(out.shape[axis] for axis in numbers.out_spec[2:])
        strides, dilation = tuple(params["window_strides"]), tuple(params["rhs_dilation"])
        return _Product(
            operation=operation,
            number=number,
            input_size=(*sizes, lhs[numbers.lhs_spec[1]]),
            out_features=out.shape[numbers.out_spec[1]],
            kernel_size=kernel,
            strides=strides,
            padding=_padding(tuple(params["padding"]), sizes, results, kernel, strides, dilation),
            kernel_dilation=dilation,
            groups=params["feature_group_count"],
        )
    # A product with a matrix of weights is a pointwise convolution.
    (contracted, _), _ = equation.params["dimension_numbers"]
    features = math.prod(lhs[axis] for axis in contracted)
    positions = tuple(size for axis, size in enumerate(lhs) if axis not in contracted)[1:]
    if not 1 <= len(positions) <= 3:
        positions = (1, 1) if not positions else (math.prod(positions),)
    ones = (1,) * len(positions)
    return _Product(
        operation=operation,
        number=number,
        input_size=(*positions, features),
        out_features=operation.cost.counts.multiplications // (math.prod(positions) * features)
        if operation.cost
        else 0,
        kernel_size=ones,
        strides=ones,
        padding="SAME",
        kernel_dilation=ones,
        groups=1,
    )


def _padding(
    pads: tuple[tuple[int, int], ...],
    sizes: Sequence[int],
    results: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> str | tuple[tuple[int, int], ...]:
    """`"SAME"` where it means these numbers of positions, or else the numbers."""
    totals = [
        max(0, (-(-size // stride) - 1) * stride + (taps - 1) * step + 1 - size)
        for size, taps, stride, step in zip(sizes, kernel, strides, dilation, strict=True)
    ]
    return "SAME" if pads == tuple((total // 2, total - total // 2) for total in totals) else pads


def _pairs(operations: Sequence[Operation], products: Mapping[int, _Product]) -> dict[int, list[_Piece]]:
    """For each depthwise convolution all of whose channels go to one pointwise convolution each: the pieces."""
    users = collections.defaultdict(list)
    for number, operation in enumerate(operations):
        for value in operation.inputs:
            users[value].append(number)
    found = {
        number: list(dict.fromkeys(_readers(number, operations, products, users)))
        for number, product in products.items()
        if product.is_depthwise
    }
    while True:
        # All channels of both halves must be met once; what remains of a pointwise convolution would stand alone.
        wrong = {
            number
            for number, pieces in found.items()
            if not _covers(((piece.first, piece.size) for piece in pieces), products[number].out_features)
            or any(piece.size % (products[number].out_features // products[number].in_features) for piece in pieces)
        }
        read = collections.defaultdict(list)
        for number, pieces in found.items():
            for piece in pieces:
                read[piece.reader].append((number, (piece.place, piece.size)))
        for reader, parts in read.items():
            if not _covers((span for _, span in parts), products[reader].in_features):
                wrong |= {number for number, _ in parts}
        if not wrong:
            return found
        found = {number: pieces for number, pieces in found.items() if number not in wrong}


def _covers(spans: Iterable[tuple[int, int]], count: int) -> bool:
    """Whether spans of (first, count) meet each of `count` channels once."""
    end = 0
    for first, size in sorted(spans):
        if first != end:
            return False
        end += size
    return end == count


class _Channels(NamedTuple):
    """Channels of a depthwise convolution's result in a later value.

    Attributes:
      value: the value.
      first: the first of them in the depthwise convolution's result.
      place: the first of them in the value.
      size: how many there are.
    """

    value: int
    first: int
    place: int
    size: int

    def cut(self, value: int, start: int, end: int) -> Iterator["_Channels"]:
        """Those of them that lie between two places, in a value that begins at `start`."""
        low, high = max(start, self.place), min(end, self.place + self.size)
        if low < high:
            yield _Channels(value, self.first + low - self.place, low - start, high - low)


def _readers(
    start: int, operations: Sequence[Operation], products: Mapping[int, _Product], users: Mapping[int, Sequence[int]]
) -> Iterator[_Piece]:
    """Follows the channels of a depthwise convolution's result to the pointwise convolutions that read them."""
    waiting = [_Channels(operations[start].outputs[0], 0, 0, products[start].out_features)]
    seen = set(waiting)
    while waiting:
        channels = waiting.pop()
        for number in users.get(channels.value, ()):
            reader = products.get(number)
            if reader is None:
                new = set(_through(operations[number], channels)) - seen
                seen |= new
                waiting += new
            elif reader.is_pointwise and operations[number].inputs[0] == channels.value:
                yield _Piece(number, channels.first, channels.place, channels.size)


def _through(operation: Operation, channels: _Channels) -> Iterator[_Channels]:
    """Where an operation leaves channels, if it leaves each at a position of its own."""
    equation, outputs = operation.equation, operation.outputs
    if len(operation.inputs) != len(equation.inputs) and equation.primitive == "concatenate":
        return  # an operand occurs twice
    results = [aval.shape for aval in equation.outputs]
    last = len(results[0]) - 1
    if equation.primitive == "concatenate" and equation.params["dimension"] == last:
        before = equation.inputs[: operation.inputs.index(channels.value)]
        yield channels._replace(value=outputs[0], place=channels.place + sum(aval.shape[last] for aval in before))
    elif equation.primitive == "split" and equation.params["axis"] == last:
        ends = list(itertools.accumulate(map(int, equation.params["sizes"])))
        for value, low, high in zip(outputs, [0, *ends], ends, strict=False):
            yield from channels.cut(value, low, high)
    elif equation.primitive == "slice" and results[0][:last] == equation.inputs[0].shape[:last]:
        start, end = equation.params["start_indices"][last], equation.params["limit_indices"][last]
        if end - start == results[0][last]:
            yield from channels.cut(outputs[0], int(start), int(end))
    elif operation.cost and operation.cost.kind == "element-wise":
        yield channels._replace(value=outputs[0])


def _one_for_all(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    return sizes[0] if len(set(sizes)) == 1 else sizes
