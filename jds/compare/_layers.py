"""Finds the layers of a network, and the pairs of layers that form depthwise separable convolutions."""

import collections
import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jds.compare._pairs import Piece, find_pairs
from jds.compare._products import Product, read_product
from jds.cost import Analysis, Layer, analyze
from jds.models import Network


def network_layers(model: Network, image_size: int | None = None) -> tuple[Layer, ...]:
    """Lists the convolution and linear layers of a network, as data to count and time.

    A depthwise layer and the pointwise layer after it form a separable layer, whose ordinary form is one convolution
    from the input of the first to the output of the second. Normalization, activation and squeeze-and-excite may come
    between the two. If kernels of several sizes split the channels, each forms a separable layer with its part of the
    pointwise layer. All other layers are the same in both forms. The matrix products of attention, which multiply
    activations by each other, are not layers.

    Args:
      model: the network, with or without arrays; it is traced for one image, in evaluation mode, and not changed.
      image_size: height and width of the images; None for the network's default size.

    Returns:
      The layers, in order. A separable layer is named after the scope shared by its two halves.

    Raises:
      ValueError: the size is missing or not positive, or the network cannot be traced with it.

    Example:
      >>> import jds
      >>> from flax import nnx
      >>> from jds import compare, cost
      >>> model = nnx.eval_shape(lambda: jds.create_model("mobilenetv1_100"))
      >>> layers = compare.network_layers(model)
      >>> [layer.name for layer in layers][:2], layers[1].separable, len(layers)
      (['stem/conv', 'stages/0/0'], True, 15)
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
    """Lists the layers of any program that was analyzed for a single example, as `network_layers` does for networks.

    Args:
      analysis: the analysis of a channels-last forward pass.

    Returns:
      The layers, in order.

    Example:
      >>> import jax, jds
      >>> from jds import compare, cost
      >>> shapes = (1, 8, 8, 4), (3, 3, 1, 4), (1, 1, 4, 16)
      >>> found = cost.analyze(jds.separable_conv, *(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes))
      >>> [(layer.in_features, layer.out_features, layer.separable) for layer in compare.analyzed_layers(found)]
      [(4, 16, True)]
    """
    return tuple(_layers(analysis))


def _layers(analysis: Analysis) -> Iterator[Layer]:
    products = {
        number: read_product(operation, number)
        for number, operation in enumerate(analysis.operations)
        if operation.cost and operation.cost.counts.macs and operation.cost.kind != "batched"
    }
    pieces = find_pairs(analysis.operations, products)
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


def _names(named: Sequence[tuple[Product, Product | None, Piece | None]]) -> list[str]:
    """Names layers after the scope shared by the two halves or, if it is not unique, after the depthwise half."""
    shared = [product.name if reader is None else _shared_scope(product, reader) for product, reader, _ in named]
    often = collections.Counter(shared)
    names = [product.name if often[name] > 1 else name for name, (product, _, _) in zip(shared, named, strict=True)]
    often, seen = collections.Counter(names), collections.Counter[str]()
    for i, name in enumerate(names):
        seen[name] += 1
        if often[name] > 1:
            names[i] = f"{name} ({seen[name]})"
    return names


def _shared_scope(product: Product, reader: Product) -> str:
    pairs = zip(product.operation.path, reader.operation.path, strict=False)
    return "/".join(scope for scope, other in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
