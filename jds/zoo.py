"""Public networks by their public names."""

import dataclasses
import fnmatch
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flax import nnx

from jds.models import (
    Network,
    convnext,
    efficientnet,
    mixnet,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    mobileone,
    xception,
)
from jds.models._suggest import for_option, near_names
from jds.models._variant import Variant
from jds.weights import _pretrained_config
from jds.weights._errors import MismatchError, printable
from jds.weights._files import Rename, read
from jds.weights._found import Found
from jds.weights._load import fill
from jds.weights._lookalike import kernels_of

_FAMILIES = (
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    efficientnet,
    mnasnet,
    mixnet,
    xception,
    convnext,
    mobileone,
)
VARIANTS: dict[str, Variant] = {variant.name: variant for family in _FAMILIES for variant in family.VARIANTS}
FIGURES = Path(__file__).with_suffix(".json")


class Figures(NamedTuple):
    """Recorded properties of a public network.

    Attributes:
      parameters: number of parameters.
      multiply_adds: number of multiply-adds per image of size `image_size`.
      image_size: height and width in pixels.
      kernels: hash that identifies its weights; see `jds.weights._lookalike`.
    """

    parameters: int
    multiply_adds: int
    image_size: int
    kernels: str


@functools.cache
def figures() -> dict[str, Figures]:
    """Returns the recorded figures of all public networks. Counting them takes minutes: see `checks/figures.py`.

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
    """Builds a public network with new or public weights.

    Weights are matched by name. The names are those of the package that the network comes from: torchvision or Keras if
    the network's name starts with `torchvision/` or `keras/`, otherwise timm. A prefix common to all names, such as
    `module.`, is removed. If no name matches, the entries of a PyTorch file or of a mapping are matched by order,
    provided that every shape fits, with a `jds.OrderWarning`; the layers of a Keras file are matched by order as in
    Keras. If the weights have no classifier, or one for another number of classes, the classifier is re-initialized
    with a `jds.FreshClassifierWarning`.

    Args:
      name: one of `list_models()`.
      weights: one of
        a Hugging Face repository id, such as `"timm/mobilenetv2_100.ra_in1k"`, or a folder with the files of one; its
        `config.json` sets the preprocessing that `model.preprocess` follows;
        a `.safetensors` file;
        a `.pth`, `.pt` or `.bin` file written by `torch.save`, which is read without PyTorch: only tensors are read,
        and no object is unpickled;
        a `.h5`, `.hdf5`, `.weights.h5` or `.keras` file, as in `keras.applications` or written by `model.save`;
        a mapping of names to arrays;
        None, for new weights.
      rename: new names for the entries of the weights, or for the layers of a Keras file: a mapping, or a function that
        returns None for an entry to drop.
      rngs: provides the `params` and `dropout` keys; by default `nnx.Rngs(0)`.
      **overrides: values for fields of the network's config, such as `num_classes`, `output_stride` or `dtype`; see
        `jds.models.NetworkConfig`.

    Returns:
      The network, in training mode.

    Raises:
      ValueError, TypeError: there is no such network, or an option is wrong.
      jds.WeightsError: the weights are damaged, do not match the network, or contain values such as NaN. The message
        lists all problems.
      OSError: the weights cannot be read or downloaded.

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
        # Read first, to avoid building a network for an unusable file.
        found = read(weights, rename)
        model = nnx.eval_shape(lambda: variant.network(config, rngs=nnx.Rngs(0)))
        where = "the mapping of weights" if isinstance(weights, Mapping) else printable(str(weights))
        try:
            fill(model, found, variant.source, where, rngs)
        except MismatchError as error:
            raise MismatchError(f"{error}{_whose(found, name)}") from None
    model.preprocessing = preprocessing
    model.source, model.name = variant.source, variant.name
    return model


def _whose(found: Found, asked: str) -> str:
    """Names the networks that the weights fit, unless the requested one is among them."""
    kernels = kernels_of(found)
    names = [name for name, known in figures().items() if known.kernels == kernels]
    return f"\nits kernels match {', '.join(names)}" if names and asked not in names else ""


def list_models(pattern: str = "*") -> list[str]:
    """Lists the names of public networks.

    Args:
      pattern: a substring of the names, or a pattern with `*` and `?`; case is ignored.

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
    """Returns the public network with the given name.

    Raises:
      ValueError: there is no such network.
    """
    if fault := name_fault(name):
        raise ValueError(f"create_model: {fault}")
    return VARIANTS[name]


def name_fault(name: str, listing: str = "list_models()") -> str | None:
    """Returns an error message, with what lists the names, for an unknown network name, or None for a known one."""
    if name in VARIANTS:
        return None
    near = ", ".join(near_names(name, VARIANTS))
    return f"there is no {name!r}; did you mean {near or f'one of {listing}'}?"
