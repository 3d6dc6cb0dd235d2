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
    """What never changes of a public network.

    Attributes:
      parameters: how many it has.
      multiply_adds: for one image of its own size.
      image_size: in pixels.
      kernels: what its weights are recognized by, as `jds.weights.lookalike` has it.
    """

    parameters: int
    multiply_adds: int
    image_size: int
    kernels: str


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
