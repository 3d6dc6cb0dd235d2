"""The names of torchvision's checkpoints: https://docs.pytorch.org/vision/stable/models.html."""

from collections.abc import Iterator

from jds.models import ConvNeXt, EfficientNet, MobileNetV2, MobileNetV3, Network
from jds.models.convnext import ConvNeXtDownsample
from jds.nn import ConvNorm, InvertedResidual
from jds.weights._entries import Entry, VariablePath, kernel, linear_classifier, norm, squeeze_excite, unit


def entries(network: Network) -> Iterator[Entry]:
    """Yields the entries of all variables that a checkpoint stores, except the classifier's.

    Raises:
      ValueError: torchvision has no such network.
    """
    if isinstance(network, ConvNeXt):
        return _convnext(network)
    if isinstance(network, MobileNetV2):
        return _v2(network)
    if isinstance(network, MobileNetV3):
        return _v3(network)
    if isinstance(network, EfficientNet):
        return _efficientnet(network)
    raise ValueError(f"torchvision: has no {type(network).__name__}")


def _v2(network: MobileNetV2) -> Iterator[Entry]:
    yield from _conv_norm(network.stem, ("stem",), "features.0")
    number = 0
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(stage):
            number += 1
            path, name, place = ("stages", i, j), f"features.{number}.conv", 0
            for layer in ("expand", "depthwise"):
                if getattr(block, layer) is not None:
                    yield from _conv_norm(getattr(block, layer), (*path, layer), f"{name}.{place}")
                    place += 1
            yield from unit(block.project, (*path, "project"), f"{name}.{place}", f"{name}.{place + 1}")
    yield from _conv_norm(network.head, ("head",), f"features.{number + 1}")


def _v3(network: MobileNetV3) -> Iterator[Entry]:
    yield from _conv_norm(network.stem, ("stem",), "features.0")
    number = 0
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(stage):
            number += 1
            if isinstance(block, ConvNorm):
                yield from _conv_norm(block, ("stages", i, j), f"features.{number}")
            else:
                yield from _inverted(block, ("stages", i, j), f"features.{number}.block")
    yield from kernel(network.neck.conv, ("neck", "conv"), "classifier.0", 2)


def _efficientnet(network: EfficientNet) -> Iterator[Entry]:
    yield from _conv_norm(network.stem, ("stem",), "features.0")
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(stage):
            yield from _inverted(block, ("stages", i, j), f"features.{i + 1}.{j}.block")
    yield from _conv_norm(network.head, ("head",), f"features.{len(network.stages) + 1}")


def _inverted(block: InvertedResidual, path: VariablePath, name: str) -> Iterator[Entry]:
    place = 0
    for layer in ("expand", "depthwise", "squeeze_excite", "project"):
        part = getattr(block, layer)
        if part is None:
            continue
        at, numbered = (*path, layer), f"{name}.{place}"
        if layer == "squeeze_excite":
            yield from squeeze_excite(part, at, f"{numbered}.fc1", f"{numbered}.fc2")
        else:
            yield from _conv_norm(part, at, numbered)
        place += 1


def _convnext(network: ConvNeXt) -> Iterator[Entry]:
    yield from kernel(network.stem.conv, ("stem", "conv"), "features.0.0")
    yield from norm(network.stem.norm, ("stem", "norm"), "features.0.1")
    for i, stage in enumerate(network.stages):
        first = isinstance(stage[0], ConvNeXtDownsample)
        if first:
            yield from norm(stage[0].norm, ("stages", i, 0, "norm"), f"features.{2 * i}.0")
            yield from kernel(stage[0].conv, ("stages", i, 0, "conv"), f"features.{2 * i}.1")
        for j, block in enumerate(stage[first:]):
            path, name = ("stages", i, j + first), f"features.{2 * i + 1}.{j}"
            yield Entry((*path, "layer_scale", "scale"), f"{name}.layer_scale", 3)
            yield from kernel(block.depthwise, (*path, "depthwise"), f"{name}.block.0")
            yield from norm(block.norm, (*path, "norm"), f"{name}.block.2")
            yield from kernel(block.widen, (*path, "widen"), f"{name}.block.3")
            yield from kernel(block.narrow, (*path, "narrow"), f"{name}.block.5")
    yield from norm(network.neck, ("neck",), "classifier.0")


def _conv_norm(layer: ConvNorm, path: VariablePath, name: str) -> Iterator[Entry]:
    return unit(layer, path, f"{name}.0", f"{name}.1")


def classifier(network: Network) -> tuple[Entry, Entry]:
    """Returns the entries of the classifier's kernel and bias."""
    place = 3 if isinstance(network, MobileNetV3) else 2 if isinstance(network, ConvNeXt) else 1
    return linear_classifier(f"classifier.{place}")
