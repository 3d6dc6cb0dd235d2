"""The names of timm's checkpoints: https://github.com/huggingface/pytorch-image-models."""

from collections.abc import Iterator

from flax import nnx

from jds.models import ConvNeXt, MobileOne, Network, Xception
from jds.models.convnext import TINY, ConvNeXtDownsample
from jds.nn import (
    ConvNorm,
    FusedResidual,
    InvertedResidual,
    MobileOneBlock,
    MultiQueryAttention,
    SeparableConv,
    UniversalInvertedResidual,
)
from jds.weights._entries import Entry, VariablePath, kernel, linear_classifier, norm, squeeze_excite, unit


def entries(network: Network) -> Iterator[Entry]:
    """Yields the entries of all variables that a checkpoint stores, except the classifier's, in timm's order."""
    if isinstance(network, ConvNeXt):
        return _convnext(network)
    if isinstance(network, MobileOne):
        return _mobileone(network)
    return _xception(network) if isinstance(network, Xception) else _inverted(network)


def _inverted(network: Network) -> Iterator[Entry]:
    yield from unit(network.stem, ("stem",), "conv_stem", "bn1")
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(stage):
            yield from _block(block, ("stages", i, j), f"blocks.{i}.{j}")
    if network.head is not None:
        yield from unit(network.head, ("head",), "conv_head", "bn2")
    if network.neck is not None:
        yield from unit(network.neck, ("neck",), "conv_head", "norm_head")


def _block(block: nnx.Module, path: VariablePath, name: str) -> Iterator[Entry]:
    if isinstance(block, ConvNorm):
        yield from unit(block, path, f"{name}.conv", f"{name}.bn1")
    elif isinstance(block, SeparableConv):
        yield from kernel(block.depthwise, (*path, "depthwise"), f"{name}.conv_dw")
        yield from norm(block.depthwise_norm, (*path, "depthwise_norm"), f"{name}.bn1")
        yield from kernel(block.pointwise, (*path, "pointwise"), f"{name}.conv_pw")
        yield from norm(block.pointwise_norm, (*path, "pointwise_norm"), f"{name}.bn2")
    elif isinstance(block, InvertedResidual):
        names = ["conv_dw", "conv_pw"] if block.expand is None else ["conv_pw", "conv_dw", "conv_pwl"]
        layers = ["depthwise", "project"] if block.expand is None else ["expand", "depthwise", "project"]
        for number, (layer, conv) in enumerate(zip(layers, names, strict=True), start=1):
            if layer == "project" and block.squeeze_excite is not None:
                at = (*path, "squeeze_excite")
                yield from squeeze_excite(block.squeeze_excite, at, f"{name}.se.conv_reduce", f"{name}.se.conv_expand")
            yield from unit(getattr(block, layer), (*path, layer), f"{name}.{conv}", f"{name}.bn{number}")
    elif isinstance(block, FusedResidual):
        yield from unit(block.expand, (*path, "expand"), f"{name}.conv_exp", f"{name}.bn1")
        yield from unit(block.project, (*path, "project"), f"{name}.conv_pwl", f"{name}.bn2")
    elif isinstance(block, UniversalInvertedResidual):
        for layer, part in (("start", "dw_start"), ("expand", "pw_exp"), ("middle", "dw_mid"), ("project", "pw_proj")):
            if getattr(block, layer) is not None:
                at = (*path, layer)
                yield from unit(getattr(block, layer), at, f"{name}.{part}.conv", f"{name}.{part}.bn")
        if block.layer_scale is not None:
            yield Entry((*path, "layer_scale", "scale"), f"{name}.layer_scale.gamma")
    elif isinstance(block, MultiQueryAttention):
        yield from _attention(block, path, name)


def _attention(block: MultiQueryAttention, path: VariablePath, name: str) -> Iterator[Entry]:
    yield from norm(block.norm, (*path, "norm"), f"{name}.norm")
    for layer in ("query", "key", "value", "output"):
        part, reduce = f"{name}.attn.{layer}", getattr(block, f"reduce_{layer}", None)
        if reduce is not None:
            yield from unit(reduce, (*path, f"reduce_{layer}"), f"{part}.down_conv", f"{part}.norm")
        yield from kernel(getattr(block, layer), (*path, layer), f"{part}.proj", 4)
    if block.layer_scale is not None:
        yield Entry((*path, "layer_scale", "scale"), f"{name}.layer_scale.gamma")


def _convnext(network: ConvNeXt) -> Iterator[Entry]:
    # In timm's networks narrower than ConvNeXt-T, the linear layers are 1×1 convolutions.
    rank = 4 if network.config.rows[0].features < TINY[0].features else 2
    yield from kernel(network.stem.conv, ("stem", "conv"), "stem.0")
    yield from norm(network.stem.norm, ("stem", "norm"), "stem.1")
    for i, stage in enumerate(network.stages):
        first = isinstance(stage[0], ConvNeXtDownsample)
        if first:
            yield from norm(stage[0].norm, ("stages", i, 0, "norm"), f"stages.{i}.downsample.0")
            yield from kernel(stage[0].conv, ("stages", i, 0, "conv"), f"stages.{i}.downsample.1")
        for j, block in enumerate(stage[first:]):
            path, name = ("stages", i, j + first), f"stages.{i}.blocks.{j}"
            if block.layer_scale is not None:
                yield Entry((*path, "layer_scale", "scale"), f"{name}.gamma")
            yield from kernel(block.depthwise, (*path, "depthwise"), f"{name}.conv_dw")
            yield from norm(block.norm, (*path, "norm"), f"{name}.norm")
            yield from kernel(block.widen, (*path, "widen"), f"{name}.mlp.fc1", rank)
            yield from kernel(block.narrow, (*path, "narrow"), f"{name}.mlp.fc2", rank)
    yield from norm(network.neck, ("neck",), "head.norm")


def _mobileone(network: MobileOne) -> Iterator[Entry]:
    yield from _branches(network.stem, ("stem",), "stem")
    for i, stage in enumerate(network.stages):
        for j, block in enumerate(stage):
            yield from _branches(block, ("stages", i, j), f"stages.{i}.{j}")


def _branches(block: MobileOneBlock, path: VariablePath, name: str) -> Iterator[Entry]:
    if block.identity is not None:
        yield from norm(block.identity, (*path, "identity"), f"{name}.identity")
    for number, branch in enumerate(block.branches):
        part = f"{name}.conv_kxk.{number}"
        yield from unit(branch, (*path, "branches", number), f"{part}.conv", f"{part}.bn")
    if block.scale is not None:
        yield from unit(block.scale, (*path, "scale"), f"{name}.conv_scale.conv", f"{name}.conv_scale.bn")
    if block.squeeze_excite is not None:
        at = (*path, "squeeze_excite")
        yield from squeeze_excite(block.squeeze_excite, at, f"{name}.attn.fc1", f"{name}.attn.fc2")


def _xception(network: Xception) -> Iterator[Entry]:
    yield from unit(network.stem.first, ("stem", "first"), "conv1", "bn1")
    yield from unit(network.stem.second, ("stem", "second"), "conv2", "bn2")
    *blocks, last = [stage[0] for stage in network.stages]
    for i, block in enumerate(blocks):
        name, path = f"block{i + 1}", ("stages", i, 0)
        if block.skip is not None:
            yield from unit(block.skip, (*path, "skip"), f"{name}.skip", f"{name}.skipbn")
        # ReLU, convolution, normalization; the first block has no ReLU before its first convolution.
        for j, layer in enumerate(block.convs):
            place = 3 * j + block.starts_with_relu
            yield from _separable(layer, (*path, "convs", j), f"{name}.rep.{place}", f"{name}.rep.{place + 1}")
    for j, layer in enumerate(last.convs):
        yield from _separable(layer, ("stages", len(blocks), 0, "convs", j), f"conv{j + 3}", f"bn{j + 3}")


def _separable(layer: SeparableConv, path: VariablePath, name: str, norm_name: str) -> Iterator[Entry]:
    yield from kernel(layer.depthwise, (*path, "depthwise"), f"{name}.conv1")
    yield from kernel(layer.pointwise, (*path, "pointwise"), f"{name}.pointwise")
    yield from norm(layer.pointwise_norm, (*path, "pointwise_norm"), norm_name)


def classifier(network: Network) -> tuple[Entry, Entry]:
    """Returns the entries of the classifier's kernel and bias."""
    if isinstance(network, ConvNeXt | MobileOne):
        return linear_classifier("head.fc")
    return linear_classifier("fc" if isinstance(network, Xception) else "classifier")
