"""Fills a network from a checkpoint's entries, and the other way round."""

import difflib
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jds.models import Network
from jds.weights import timm, torchvision
from jds.weights.entries import Entry, Path, kernel
from jds.weights.errors import WeightsError
from jds.weights.layout import from_torch, to_torch, torch_shape

Source = Literal["timm", "torchvision", "keras"]
_SOURCES: dict[str, ModuleType] = {"timm": timm, "torchvision": torchvision}
_LISTED = 10


def entries_of(network: Network, source: Source) -> tuple[Entry, ...]:
    """Names all variables of a network that a checkpoint of this source holds."""
    names = _SOURCES[source]
    return (*names.entries(network), *_classifier(network, names.classifier_name(network)))


def _classifier(network: Network, name: str) -> Iterator[Entry]:
    if network.classifier is not None:
        yield from kernel(network.classifier, ("classifier",), name)


def fill(network: Network, found: Mapping[str, np.ndarray], source: Source, where: str, rngs: nnx.Rngs) -> None:
    """Gives a network without arrays those of a PyTorch checkpoint.

    A classifier for another number of classes than the checkpoint's is drawn afresh, with a warning; what the
    checkpoint has for a network that is to have none is left out.

    Args:
      network: as `nnx.eval_shape` makes it; it is changed only if all is well.
      found: the checkpoint's entries.
      source: whose names they have.
      where: they are from, for messages.
      rngs: gives the keys `params` for a classifier, and `dropout`.

    Raises:
      WeightsError: entries are missing, are not of this network, or have another shape or type.
    """
    variables = dict(nnx.to_flat_state(nnx.state(network)))
    name = _SOURCES[source].classifier_name(network)
    head = {f"{name}.weight", f"{name}.bias"}
    wanted = {entry.name: entry for entry in entries_of(network, source)}
    shapes = {entry.name: torch_shape(variables[entry.path].get_value().shape, entry.rank) for entry in wanted.values()}
    is_fresh = network.classifier is not None and _other_classes(found, shapes, name)
    ignored = head if is_fresh or network.classifier is None else set()
    problems = _problems(
        {name: shape for name, shape in shapes.items() if name not in ignored},
        {name: array for name, array in found.items() if name not in ignored and not _is_counter(name, wanted)},
    )
    if problems:
        raise WeightsError(f"{where} is not of this network:\n" + "\n".join(problems))
    arrays = {
        entry.path: from_torch(found[entry.name], variables[entry.path].get_value().shape)
        for entry in wanted.values()
        if entry.name not in ignored
    }
    if is_fresh:
        classes = found[f"{name}.weight"].shape[0]
        warnings.warn(
            f"{where} classifies {classes} classes, not {network.config.num_classes}: the classifier is drawn afresh",
            stacklevel=3,
        )
    _set(variables, arrays, rngs)
    nnx.update(network, nnx.from_flat_state(list(variables.items())))


def emptied(network: Network, source: Source) -> dict[str, np.ndarray]:
    """Returns all that a network holds as the entries of a PyTorch checkpoint."""
    variables = dict(nnx.to_flat_state(nnx.state(network)))
    found: dict[str, np.ndarray] = {}
    for entry in entries_of(network, source):
        array = np.asarray(variables[entry.path].get_value())
        found[entry.name] = to_torch(array, torch_shape(array.shape, entry.rank))
        if entry.is_counted:
            found[_counter(entry.name)] = np.zeros((), np.int64)
    return found


def _counter(name: str) -> str:
    return f"{name.rpartition('.')[0]}.num_batches_tracked"


def _is_counter(name: str, wanted: Mapping[str, Entry]) -> bool:
    prefix, _, last = name.rpartition(".")
    return last == "num_batches_tracked" and f"{prefix}.running_var" in wanted


def _other_classes(found: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], classifier: str) -> bool:
    """Whether the checkpoint's classifier differs in nothing but its number of classes."""
    weight, bias = (found.get(f"{classifier}.{part}") for part in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 2 or bias.ndim != 1:
        return False
    _, features = shapes[f"{classifier}.weight"]
    is_whole = weight.shape[1] == features and weight.shape[0] == bias.shape[0]
    return is_whole and weight.shape != shapes[f"{classifier}.weight"]


def _problems(shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, np.ndarray]) -> list[str]:
    missing = [name for name in shapes if name not in found]
    unexpected = [name for name in found if name not in shapes]
    both = [name for name in shapes if name in found]
    misshapen = [
        f"{name} is {found[name].shape}, not {shapes[name]}" for name in both if found[name].shape != shapes[name]
    ]
    mistyped = [
        f"{name} is {found[name].dtype}, not floating point"
        for name in both
        if not jnp.issubdtype(found[name].dtype, jnp.floating)
    ]
    return [
        f"{count} {what}: {', '.join(shown)}{', …' if count > _LISTED else ''}"
        for what, names, others in (
            ("missing", missing, unexpected),
            ("unexpected", unexpected, missing),
            ("of another shape", misshapen, None),
            ("of another type", mistyped, None),
        )
        if (count := len(names))
        for shown in [[_with_nearest(name, others) for name in names[:_LISTED]]]
    ]


def _with_nearest(name: str, others: list[str] | None) -> str:
    near = difflib.get_close_matches(name, others or (), n=1)
    return f"{name} (is it {near[0]}?)" if near else name


def _set(variables: Mapping[Any, Any], arrays: Mapping[Path, np.ndarray], rngs: nnx.Rngs) -> None:
    for path, variable in variables.items():
        expected = variable.get_value()
        if path in arrays:
            variable.set_value(jnp.asarray(arrays[path].astype(expected.dtype)))
        elif isinstance(variable, nnx.RngKey):
            variable.set_value(rngs.dropout())
        elif isinstance(variable, nnx.Param) and len(expected.shape) > 1:
            draw = jax.nn.initializers.lecun_normal()
            variable.set_value(draw(rngs.params(), expected.shape, expected.dtype))
        else:
            variable.set_value(jnp.zeros(expected.shape, expected.dtype))
