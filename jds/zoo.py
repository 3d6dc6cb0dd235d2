"""Public networks by their public names."""

import dataclasses
import fnmatch
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import nnx

from jds.models import (
    ConvNeXt,
    ConvNeXtConfig,
    EfficientNet,
    EfficientNetConfig,
    MixNet,
    MixNetConfig,
    MnasNet,
    MnasNetConfig,
    MobileNetV1,
    MobileNetV1Config,
    MobileNetV2,
    MobileNetV2Config,
    MobileNetV3,
    MobileNetV3Config,
    MobileNetV4,
    MobileNetV4Config,
    MobileOne,
    MobileOneConfig,
    Network,
    NetworkConfig,
    Xception,
    XceptionConfig,
    convnext,
    mixnet,
    mnasnet,
    mobilenet_v3,
    mobilenet_v4,
    mobileone,
)
from jds.models._preprocessing import HALF, Preprocessing
from jds.models._resizing import Interpolation
from jds.models._suggest import for_option, near_names
from jds.nn._convnext import gelu
from jds.weights import Source, _pretrained_config
from jds.weights._errors import MismatchError, printable
from jds.weights._files import Rename, read
from jds.weights._found import Found
from jds.weights._load import fill
from jds.weights._lookalike import kernels_of


class Variant(NamedTuple):
    """A public network.

    Attributes:
      name: timm's as it is, others under their source.
      network: its class.
      config: how it is built.
      preprocessing: what its weights expect of images.
      source: whose naming its weights have.
    """

    name: str
    network: type[Network]
    config: NetworkConfig
    preprocessing: Preprocessing
    source: Source


class Figures(NamedTuple):
    """What never changes of a public network.

    Attributes:
      parameters: how many it has.
      multiply_adds: for one image of its own size.
      image_size: in pixels.
      kernels: what its weights are recognised by, as `jds.weights.lookalike` has it.
    """

    parameters: int
    multiply_adds: int
    image_size: int
    kernels: str


FIGURES = Path(__file__).with_suffix(".json")


@functools.cache
def figures() -> dict[str, Figures]:
    """The figures of all public networks, which are recorded: to count them takes minutes.

    Example:
      >>> from jds import zoo
      >>> zoo.figures()["mobilenetv1_100"].parameters
      4231976
    """
    return {name: Figures(**values) for name, values in json.loads(FIGURES.read_text(encoding="utf-8")).items()}


def create_model(
    name: str,
    weights: str | Path | Mapping[str, Any] | None = None,
    *,
    rename: Rename | None = None,
    rngs: nnx.Rngs | None = None,
    **overrides: Any,
) -> Network:
    """Builds a public network, with new weights or public ones.

    Weights are matched by their names, which are those of the package that the network is of: of timm, or of
    torchvision or Keras where the network's name says so. A prefix that all names have, such as `module.`, is taken
    off. A `.pth` file or a mapping whose names are all others is taken in its order where every shape fits, with a
    `jds.OrderWarning`; so are Keras's files of other layers, as Keras does. A classifier that the weights do not have,
    or have for another number of classes, is drawn afresh, with a `jds.FreshClassifierWarning`.

    Args:
      name: one of `list_models()`.
      weights: one of
        a Hugging Face repository's id, such as `"timm/mobilenetv2_100.ra_in1k"`, or a folder with the files of one,
        whose `config.json` says how images are made ready for these weights, which `model.preprocess` follows;
        a `.safetensors` file;
        a `.pth`, `.pt` or `.bin` file of `torch.save`, read without PyTorch: its tensors only, no object is unpickled;
        a `.h5`, `.hdf5`, `.weights.h5` or `.keras` file of Keras, as `keras.applications` has or `model.save` writes;
        a mapping of names to arrays;
        None, for new weights.
      rename: gives the entries of the weights, or the layers of a Keras file, other names: a mapping of some of them,
        or a function, which returns None for what is to be left out.
      rngs: gives the keys `params` and `dropout`; by default `nnx.Rngs(0)`.
      **overrides: fields of the network's config that are to be others, such as `num_classes`, `output_stride` or
        `dtype`: see `jds.models.NetworkConfig`.

    Returns:
      The network, in training mode.

    Raises:
      ValueError, TypeError: there is no such network, or a field is wrong.
      jds.WeightsError: the weights are damaged, not of this network, or no numbers; the message says all that is wrong.
      OSError: the weights cannot be read or fetched.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> model = jds.create_model("mobilenetv3_small_050", num_classes=10)
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 64, 64, 3))).shape
      (1, 10)
    """
    variant = find(name)
    known = [field.name for field in dataclasses.fields(variant.config)]
    for field in overrides:
        if field not in known:
            raise TypeError(f"create_model: {name} has no option {field!r}; {for_option(name, field, known)}")
    config = dataclasses.replace(variant.config, **overrides)
    rngs = nnx.Rngs(0) if rngs is None else rngs
    preprocessing = _pretrained_config.read(weights).preprocessing or variant.preprocessing
    if weights is None:
        model = variant.network(config, rngs=rngs)
    else:
        # First, so that no network is built for a file that is of no use.
        found = read(weights, rename)
        model = nnx.eval_shape(lambda: variant.network(config, rngs=nnx.Rngs(0)))
        where = "the mapping of weights" if isinstance(weights, Mapping) else printable(str(weights))
        try:
            fill(model, found, variant.source, where, rngs)
        except MismatchError as error:
            raise MismatchError(f"{error}{_whose(found, name)}") from None
    model.preprocessing = preprocessing
    model.source = variant.source
    return model


def _whose(found: Found, asked: str) -> str:
    """The networks that the weights may be of, if the one that was asked for is not among them."""
    kernels = kernels_of(found)
    names = [name for name, known in figures().items() if known.kernels == kernels]
    return f"\nits kernels are those of {', '.join(names)}" if names and asked not in names else ""


def list_models(pattern: str = "*") -> list[str]:
    """Lists the names of public networks.

    Args:
      pattern: of names, with `*` and `?`, or a part of them without; capital letters are as small ones.

    Returns:
      The names, sorted.

    Example:
      >>> import jds
      >>> jds.list_models("mobilenetv4_hybrid_m*")
      ['mobilenetv4_hybrid_medium', 'mobilenetv4_hybrid_medium_075']
    """
    pattern = pattern.lower() if any(sign in pattern for sign in "*?[") else f"*{pattern.lower()}*"
    return sorted(name for name in VARIANTS if fnmatch.fnmatchcase(name.lower(), pattern))


def find(name: str) -> Variant:
    """Returns the public network of a name.

    Raises:
      ValueError: there is none.
    """
    if fault := name_fault(name):
        raise ValueError(f"create_model: {fault}")
    return VARIANTS[name]


def name_fault(name: str) -> str | None:
    """Says what is wrong with the name of a network; None where nothing is."""
    if name in VARIANTS:
        return None
    near = ", ".join(near_names(name, VARIANTS))
    return f"there is no {name!r}; did you mean {near or 'one of list_models()'}?"


# What timm's own networks have of PyTorch, its ports of TensorFlow's networks of that, and torchvision's of both.
_TORCH: dict[str, Any] = {"padding": "SYMMETRIC", "epsilon": 1e-5, "momentum": 0.9, "unbiased_variance": True}
_PORT: dict[str, Any] = {"padding": "SAME", "epsilon": 1e-3, "momentum": 0.9, "unbiased_variance": True}
_SLOW: dict[str, Any] = {"padding": "SYMMETRIC", "epsilon": 1e-3, "momentum": 0.99, "unbiased_variance": True}

_HALF = Preprocessing(mean=HALF, std=HALF)


def _timm() -> Iterator[Variant]:
    def of(name: str, network: type[Network], config: NetworkConfig, like: Preprocessing, **images: Any) -> Variant:
        return Variant(name, network, config, dataclasses.replace(like, **images), "timm")

    usual, half = Preprocessing(), _HALF
    relu6 = jax.nn.relu6
    for name, width, crop in (("100", 1.0, 0.875), ("125", 1.25, 0.9)):
        config = MobileNetV1Config(width=width, activation=relu6, **_TORCH)
        yield of(f"mobilenetv1_{name}", MobileNetV1, config, half, crop=crop)
    for name, width in (("035", 0.35), ("050", 0.5), ("075", 0.75), ("100", 1.0), ("140", 1.4)):
        yield of(f"mobilenetv2_{name}", MobileNetV2, MobileNetV2Config(width=width, **_TORCH), usual)
    for name, width, depth in (("110d", 1.1, 1.2), ("120d", 1.2, 1.4)):
        config = MobileNetV2Config(width=width, depth=depth, fixed_ends=True, **_TORCH)
        yield of(f"mobilenetv2_{name}", MobileNetV2, config, usual)
    yield from _mobilenet_v3(of)
    yield from _mobilenet_v4(of)
    yield from _efficientnet(of)
    for name, width in (("050", 0.5), ("075", 0.75), ("100", 1.0), ("140", 1.4)):
        for prefix, rows in (("mnasnet", mnasnet.B1), ("semnasnet", mnasnet.A1)):
            yield of(f"{prefix}_{name}", MnasNet, MnasNetConfig(rows=rows, width=width, **_TORCH), usual)
    yield of("mnasnet_small", MnasNet, MnasNetConfig(rows=mnasnet.SMALL, stem=8, **_TORCH), usual)
    for prefix, habits in (("", _TORCH), ("tf_", _PORT)):
        yield of(f"{prefix}mixnet_s", MixNet, MixNetConfig(**habits), usual)
        medium = {"rows": mixnet.M, "stem": 24}
        yield of(f"{prefix}mixnet_m", MixNet, MixNetConfig(**medium, dropout=0.25, **habits), usual)
        yield of(f"{prefix}mixnet_l", MixNet, MixNetConfig(**medium, width=1.3, dropout=0.3, **habits), usual)
    config = XceptionConfig(dropout=0.5, **_TORCH)
    yield of("legacy_xception", Xception, config, half, image_size=299, crop=0.8975)
    for name, rows, rank, drop_path, crop in (
        ("atto", convnext.ATTO, 4, 0.1, 0.875),
        ("femto", convnext.FEMTO, 4, 0.1, 0.875),
        ("pico", convnext.PICO, 4, 0.1, 0.875),
        ("nano", convnext.NANO, 4, 0.1, 0.95),
        ("tiny", convnext.TINY, 2, 0.1, 0.95),
        ("small", convnext.SMALL, 2, 0.4, 0.95),
        ("base", convnext.BASE, 2, 0.5, 0.875),
        ("large", convnext.LARGE, 2, 0.5, 0.875),
    ):
        config = ConvNeXtConfig(rows=rows, checkpoint_rank=rank, drop_path=drop_path, **_TORCH)
        yield of(f"convnext_{name}", ConvNeXt, config, usual, crop=crop)
    for name, rows, branches, crop in (
        ("s0", mobileone.S0, 4, 0.875),
        ("s1", mobileone.S1, 1, 0.9),
        ("s2", mobileone.S2, 1, 0.9),
        ("s3", mobileone.S3, 1, 0.9),
        ("s4", mobileone.S4, 1, 0.9),
    ):
        config = MobileOneConfig(rows=rows, branches=branches, **_TORCH)
        yield of(f"mobileone_{name}", MobileOne, config, usual, crop=crop, interpolation="bilinear")


_SMALL: dict[str, Any] = {"rows": mobilenet_v3.SMALL, "last": 576, "hidden": 1024}


def _mobilenet_v3(of) -> Iterator[Variant]:
    usual, half = Preprocessing(), dataclasses.replace(_HALF, interpolation="bilinear")
    for prefix, habits, images in (("", _TORCH, usual), ("tf_", _PORT, half)):
        for size, rows, widths in (("large", {}, (0.75, 1.0)), ("small", _SMALL, (0.5, 0.75, 1.0))):
            for width in widths:
                name = f"{prefix}mobilenetv3_{size}_{round(100 * width):03}"
                if name == "tf_mobilenetv3_small_050":
                    continue
                config = MobileNetV3Config(**rows, width=width, fixed_stem=width < 0.75, **habits)
                like = "bilinear" if name == "mobilenetv3_large_075" else images.interpolation
                yield of(name, MobileNetV3, config, images, interpolation=like)
    for size, rows in (("large", {"rows": mobilenet_v3.LARGE}), ("small", _SMALL)):
        plain = rows | {"rows": mobilenet_v3.minimalistic(rows["rows"])}
        config = MobileNetV3Config(**plain, activation=jax.nn.relu, **_PORT)
        yield of(f"tf_mobilenetv3_{size}_minimal_100", MobileNetV3, config, half)


def _mobilenet_v4(of) -> Iterator[Variant]:
    usual = Preprocessing()
    for name, width, images in (("_035", 0.35, _HALF), ("_050", 0.5, _HALF), ("", 1.0, usual)):
        config = MobileNetV4Config(width=width, **_TORCH)
        yield of(f"mobilenetv4_conv_small{name}", MobileNetV4, config, images)
    medium = MobileNetV4Config(rows=mobilenet_v4.CONV_MEDIUM, **_TORCH)
    yield of("mobilenetv4_conv_medium", MobileNetV4, medium, usual, image_size=256, crop=0.95)
    large = MobileNetV4Config(rows=mobilenet_v4.CONV_LARGE, stem=24, **_TORCH)
    yield of("mobilenetv4_conv_large", MobileNetV4, large, usual, image_size=384, crop=0.95)
    medium = MobileNetV4Config(rows=mobilenet_v4.HYBRID_MEDIUM, layer_scale=1e-5, **_TORCH)
    large = MobileNetV4Config(rows=mobilenet_v4.HYBRID_LARGE, stem=24, layer_scale=1e-5, activation=gelu, **_TORCH)
    for name, config, sizes in (("medium", medium, (224, 256)), ("large", large, (256, 384))):
        for suffix, width, size in (("_075", 0.75, sizes[0]), ("", 1.0, sizes[1])):
            scaled = dataclasses.replace(config, width=width)
            yield of(f"mobilenetv4_hybrid_{name}{suffix}", MobileNetV4, scaled, usual, image_size=size, crop=0.95)


# Table 8 of the authors' code: width, depth, dropout; then image size and crop of timm's own weights and of its ports.
_EFFICIENTNETS = (
    (1.0, 1.0, 0.2, (224, 0.875), (224, 0.875)),
    (1.0, 1.1, 0.2, (240, 0.9), (240, 0.882)),
    (1.1, 1.2, 0.3, (256, 0.875), (260, 0.89)),
    (1.2, 1.4, 0.3, (288, 0.875), (300, 0.904)),
    (1.4, 1.8, 0.4, (320, 0.875), (380, 0.922)),
    (1.6, 2.2, 0.4, (448, 1.0), (456, 0.934)),
    (1.8, 2.6, 0.5, (528, 0.942), (528, 0.942)),
    (2.0, 3.1, 0.5, (600, 0.949), (600, 0.949)),
)
# Of Lite: width, depth, dropout, image size, crop.
_LITES = (
    (1.0, 1.0, 0.2, 224, 0.875),
    (1.0, 1.1, 0.2, 240, 0.882),
    (1.1, 1.2, 0.3, 260, 0.89),
    (1.2, 1.4, 0.3, 300, 0.904),
    (1.4, 1.8, 0.3, 380, 0.922),
)


def _efficientnet(of) -> Iterator[Variant]:
    usual = Preprocessing()
    for number, (width, depth, dropout, own, ported) in enumerate(_EFFICIENTNETS):
        for prefix, habits, (size, crop) in (("", _TORCH, own), ("tf_", _PORT, ported)):
            config = EfficientNetConfig(width=width, depth=depth, dropout=dropout, **habits)
            images = _HALF if prefix == "" and number == 1 else usual
            mode = "squash" if prefix == "" and number == 5 else "center"
            name = f"{prefix}efficientnet_b{number}"
            yield of(name, EfficientNet, config, images, image_size=size, crop=crop, crop_mode=mode)
    plain: dict[str, Any] = {"has_squeeze": False, "fixed_ends": True, "activation": jax.nn.relu6}
    for number, (width, depth, dropout, size, crop) in enumerate(_LITES):
        for prefix, habits, images in (("", _TORCH, usual), ("tf_", _PORT, _HALF)):
            config = EfficientNetConfig(width=width, depth=depth, dropout=dropout, **plain, **habits)
            like = "bilinear" if prefix and number > 2 else "bicubic"
            kept = 0.92 if prefix and number == 4 else crop
            name = f"{prefix}efficientnet_lite{number}"
            yield of(name, EfficientNet, config, images, image_size=size, crop=kept, interpolation=like)


def _torchvision() -> Iterator[Variant]:
    def of(
        name: str,
        network: type[Network],
        config: NetworkConfig,
        size: int = 224,
        resized: int = 256,
        interpolation: Interpolation = "bilinear",
    ) -> Variant:
        like = Preprocessing(size, size / resized, interpolation)
        return Variant(f"torchvision/{name}", network, config, like, "torchvision")

    yield of("mobilenet_v2", MobileNetV2, MobileNetV2Config(**_TORCH), resized=232)
    yield of("mobilenet_v3_large", MobileNetV3, MobileNetV3Config(**_SLOW), resized=232)
    yield of("mobilenet_v3_small", MobileNetV3, MobileNetV3Config(**_SMALL, **_SLOW))
    sizes = ((224, 256), (240, 255), (288, 288), (300, 320), (380, 384), (456, 456), (528, 528), (600, 600))
    for number, ((width, depth, dropout, *_), (size, resized)) in enumerate(zip(_EFFICIENTNETS, sizes, strict=True)):
        habits = _TORCH if number < 5 else _SLOW
        config = EfficientNetConfig(width=width, depth=depth, dropout=dropout, **habits)
        like: Interpolation = "bilinear" if number == 1 else "bicubic"
        yield of(f"efficientnet_b{number}", EfficientNet, config, size, resized, like)
    for name, rows, drop_path, resized in (
        ("tiny", convnext.TINY, 0.1, 236),
        ("small", convnext.SMALL, 0.4, 230),
        ("base", convnext.BASE, 0.5, 232),
        ("large", convnext.LARGE, 0.5, 232),
    ):
        config = ConvNeXtConfig(rows=rows, drop_path=drop_path, **_TORCH)
        yield of(f"convnext_{name}", ConvNeXt, config, resized=resized)


def _keras() -> Iterator[Variant]:
    def of(name: str, network: type[Network], config: NetworkConfig, like: Preprocessing, size: int = 224) -> Variant:
        return Variant(f"keras/{name}", network, config, dataclasses.replace(like, image_size=size), "keras")

    # keras.utils.load_img(file, target_size=…) resizes the whole image, and takes the nearest pixels unless told.
    half = Preprocessing(crop=1.0, interpolation="nearest", mean=HALF, std=HALF, crop_mode="squash")
    usual = Preprocessing(crop=1.0, interpolation="nearest", crop_mode="squash")
    relu6 = jax.nn.relu6
    slow: dict[str, Any] = {"momentum": 0.999}
    yield of("MobileNet", MobileNetV1, MobileNetV1Config(activation=relu6, pads_end=True), half)
    yield of("MobileNetV2", MobileNetV2, MobileNetV2Config(**slow), half)
    yield of("MobileNetV3Large", MobileNetV3, MobileNetV3Config(**slow), half)
    yield of("MobileNetV3Small", MobileNetV3, MobileNetV3Config(**_SMALL, **slow), half)
    sizes = (224, 240, 260, 300, 380, 456, 528, 600)
    for number, ((width, depth, dropout, *_), size) in enumerate(zip(_EFFICIENTNETS, sizes, strict=True)):
        config = EfficientNetConfig(width=width, depth=depth, dropout=dropout)
        yield of(f"EfficientNetB{number}", EfficientNet, config, usual, size)
    yield of("Xception", Xception, XceptionConfig(), half, 299)
    for name, rows, drop_path in (
        ("Tiny", convnext.TINY, 0.1),
        ("Small", convnext.SMALL, 0.4),
        ("Base", convnext.BASE, 0.5),
        ("Large", convnext.LARGE, 0.5),
    ):
        yield of(f"ConvNeXt{name}", ConvNeXt, ConvNeXtConfig(rows=rows, drop_path=drop_path), usual)


VARIANTS: dict[str, Variant] = {variant.name: variant for variant in (*_timm(), *_torchvision(), *_keras())}
