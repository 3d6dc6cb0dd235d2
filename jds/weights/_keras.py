"""The names of Keras's checkpoints: https://keras.io/api/applications."""

from collections.abc import Iterator
from typing import Any

from flax import nnx

from jds.models import ConvNeXt, EfficientNet, MobileNetV1, MobileNetV2, MobileNetV3, Network, Xception
from jds.models.convnext import ConvNeXtDownsample
from jds.nn import ConvNorm, DepthwiseConv, SeparableConv
from jds.weights._entries import Entry, VariablePath


def entries(network: Network) -> Iterator[Entry]:
    """Yields the entries of all variables that a checkpoint stores, except the classifier's, in Keras's order.

    Raises:
      ValueError: Keras has no such network.
    """
    names = {
        MobileNetV1: _v1,
        MobileNetV2: _v2,
        MobileNetV3: _v3,
        EfficientNet: _efficientnet,
        Xception: _xception,
        ConvNeXt: _convnext,
    }
    if type(network) not in names:
        raise ValueError(f"keras: has no {type(network).__name__}")
    return names[type(network)](network)


def classifier(network: Network) -> tuple[Entry, Entry]:
    """Returns the entries of the classifier's kernel and bias; in MobileNet V1 and V3 it is a convolution."""
    names = {MobileNetV1: "conv_preds", MobileNetV3: "logits", ConvNeXt: "head_dense"}
    name = names.get(type(network), "predictions")
    rank = 4 if isinstance(network, MobileNetV1 | MobileNetV3) else None
    return Entry(("classifier", "kernel"), f"{name}/kernel", rank), Entry(("classifier", "bias"), f"{name}/bias")


def top(network: Network) -> tuple[str, ...]:
    """Returns the layers that are missing from a file saved with `include_top=False`."""
    more = ("conv_2",) if isinstance(network, MobileNetV3) else ()
    kernel, _ = classifier(network)
    return (*more, kernel.name.partition("/")[0])


def _v1(network: Any) -> Iterator[Entry]:
    yield from _unit(network.stem, ("stem",), "conv1", "conv1_bn")
    for number, (path, block) in enumerate(_blocks(network), start=1):
        for layer, name in (("depthwise", "dw"), ("pointwise", "pw")):
            yield from _kernel(getattr(block, layer), (*path, layer), f"conv_{name}_{number}")
            yield from _norm(getattr(block, f"{layer}_norm"), (*path, f"{layer}_norm"), f"conv_{name}_{number}_bn")


def _v2(network: Any) -> Iterator[Entry]:
    yield from _unit(network.stem, ("stem",), "Conv1", "bn_Conv1")
    for number, (path, block) in enumerate(_blocks(network)):
        name = f"block_{number}" if number else "expanded_conv"
        for layer in ("expand", "depthwise", "project"):
            if getattr(block, layer) is not None:
                yield from _unit(getattr(block, layer), (*path, layer), f"{name}_{layer}", f"{name}_{layer}_BN")
    yield from _unit(network.head, ("head",), "Conv_1", "Conv_1_bn")


def _v3(network: Any) -> Iterator[Entry]:
    yield from _unit(network.stem, ("stem",), "conv", "conv_bn")
    for number, (path, block) in enumerate(_blocks(network)):
        if isinstance(block, ConvNorm):
            yield from _unit(block, path, "conv_1", "conv_1_bn")
            continue
        name = f"expanded_conv_{number}" if number else "expanded_conv"
        for layer in ("expand", "depthwise", "squeeze_excite", "project"):
            part, at = getattr(block, layer), (*path, layer)
            if part is None:
                continue
            if layer == "squeeze_excite":
                yield from _kernel(part.squeeze, (*at, "squeeze"), f"{name}_squeeze_excite_conv", 4)
                yield from _kernel(part.excite, (*at, "excite"), f"{name}_squeeze_excite_conv_1", 4)
            else:
                yield from _unit(part, at, f"{name}_{layer}", f"{name}_{layer}_bn")
    yield from _kernel(network.neck.conv, ("neck", "conv"), "conv_2")


def _efficientnet(network: Any) -> Iterator[Entry]:
    yield from _unit(network.stem, ("stem",), "stem_conv", "stem_bn")
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(stage):
            path, name = ("stages", i, j), f"block{i + 1}{chr(ord('a') + j)}"
            if block.expand is not None:
                yield from _unit(block.expand, (*path, "expand"), f"{name}_expand_conv", f"{name}_expand_bn")
            yield from _unit(block.depthwise, (*path, "depthwise"), f"{name}_dwconv", f"{name}_bn")
            if block.squeeze_excite is not None:
                for layer, part in (("squeeze", "reduce"), ("excite", "expand")):
                    at = (*path, "squeeze_excite", layer)
                    yield from _kernel(getattr(block.squeeze_excite, layer), at, f"{name}_se_{part}", 4)
            yield from _unit(block.project, (*path, "project"), f"{name}_project_conv", f"{name}_project_bn")
    yield from _unit(network.head, ("head",), "top_conv", "top_bn")


def _xception(network: Any) -> Iterator[Entry]:
    for number, layer in enumerate(("first", "second"), start=1):
        name = f"block1_conv{number}"
        yield from _unit(getattr(network.stem, layer), ("stem", layer), name, f"{name}_bn")
    skips = 0
    for i, stage in enumerate(network.stages):
        for j, layer in enumerate(stage[0].convs):
            yield from _separable(layer, ("stages", i, 0, "convs", j), f"block{i + 2}_sepconv{j + 1}")
        skip = getattr(stage[0], "skip", None)
        if skip is not None:
            # Keras numbers these layers automatically.
            yield from _unit(skip, ("stages", i, 0, "skip"), f"conv2d#{skips}", f"batch_normalization#{skips}")
            skips += 1


def _convnext(network: Any) -> Iterator[Entry]:
    yield from _kernel(network.stem.conv, ("stem", "conv"), "stem_conv")
    yield from _norm(network.stem.norm, ("stem", "norm"), "stem_layernorm")
    for i, stage in enumerate(network.stages):
        first = isinstance(stage[0], ConvNeXtDownsample)
        if first:
            name = f"downsampling_layernorm_{i - 1}"
            yield from _norm(stage[0].norm, ("stages", i, 0, "norm"), name)
            yield from _kernel(stage[0].conv, ("stages", i, 0, "conv"), f"downsampling_conv_{i - 1}")
        for j, block in enumerate(stage[first:]):
            path, name = ("stages", i, j + first), f"stage_{i}_block_{j}"
            yield from _kernel(block.depthwise, (*path, "depthwise"), f"{name}_depthwise_conv", is_grouped=True)
            yield from _norm(block.norm, (*path, "norm"), f"{name}_layernorm")
            yield from _kernel(block.widen, (*path, "widen"), f"{name}_pointwise_conv_1")
            yield from _kernel(block.narrow, (*path, "narrow"), f"{name}_pointwise_conv_2")
            yield Entry((*path, "layer_scale", "scale"), f"{name}_layer_scale/variable")
    yield from _norm(network.neck, ("neck",), "head_layernorm")


def _blocks(network: Any) -> Iterator[tuple[VariablePath, Any]]:
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(stage):
            yield ("stages", i, j), block


def _unit(layer: ConvNorm, path: VariablePath, conv_name: str, norm_name: str) -> Iterator[Entry]:
    yield from _kernel(layer.conv, (*path, "conv"), conv_name)
    yield from _norm(layer.norm, (*path, "norm"), norm_name)


def _kernel(
    layer: Any, path: VariablePath, name: str, rank: int | None = None, *, is_grouped: bool = False
) -> Iterator[Entry]:
    swaps = isinstance(layer, DepthwiseConv) and not is_grouped
    yield Entry((*path, "kernel"), f"{name}/kernel", rank, swaps=swaps)
    if layer.bias is not None:
        yield Entry((*path, "bias"), f"{name}/bias")


def _norm(layer: Any, path: VariablePath, name: str) -> Iterator[Entry]:
    yield Entry((*path, "scale"), f"{name}/gamma")
    yield Entry((*path, "bias"), f"{name}/beta")
    if isinstance(layer, nnx.BatchNorm):
        yield Entry((*path, "mean"), f"{name}/moving_mean")
        yield Entry((*path, "var"), f"{name}/moving_variance")


def _separable(layer: SeparableConv, path: VariablePath, name: str) -> Iterator[Entry]:
    yield Entry((*path, "depthwise", "kernel"), f"{name}/depthwise_kernel", swaps=True)
    yield Entry((*path, "pointwise", "kernel"), f"{name}/pointwise_kernel")
    yield from _norm(layer.pointwise_norm, (*path, "pointwise_norm"), f"{name}_bn")
