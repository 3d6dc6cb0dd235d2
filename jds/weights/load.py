"""Fills a network from a checkpoint's entries, and the other way round."""

import difflib
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jds.models import Network
from jds.weights import keras, keras_file, timm, torchvision
from jds.weights.entries import Entry, Path
from jds.weights.errors import FreshClassifierWarning, WeightsError
from jds.weights.layout import from_public, public_shape, to_public

Source = Literal["timm", "torchvision", "keras"]
_SOURCES: dict[str, ModuleType] = {"timm": timm, "torchvision": torchvision, "keras": keras}
_LISTED = 10


def entries_of(network: Network, source: Source) -> tuple[Entry, ...]:
    """Names all variables of a network that a checkpoint of this source holds."""
    return (*_SOURCES[source].entries(network), *_classifier(network, source))


def _classifier(network: Network, source: Source) -> Iterator[Entry]:
    if network.classifier is not None:
        weight, bias = _classifier_names(network, source)
        rank = keras.classifier_rank(network) if source == "keras" else None
        yield Entry(("classifier", "kernel"), weight, rank)
        yield Entry(("classifier", "bias"), bias)


def _classifier_names(network: Network, source: Source) -> tuple[str, str]:
    name = _SOURCES[source].classifier_name(network)
    return (f"{name}/kernel", f"{name}/bias") if source == "keras" else (f"{name}.weight", f"{name}.bias")


def fill(network: Network, found: Mapping[str, Any], source: Source, where: str, rngs: nnx.Rngs) -> None:
    """Gives a network without arrays those of a checkpoint.

    A classifier for another number of classes than the checkpoint's is drawn afresh, with a warning; what the
    checkpoint has for a network that is to have none is left out.

    Args:
      network: as `nnx.eval_shape` makes it; it is changed only if all is well.
      found: the checkpoint's entries, or the layers of a Keras file.
      source: whose names they have.
      where: they are from, for messages.
      rngs: gives the keys `params` for a classifier, and `dropout`.

    Raises:
      WeightsError: entries are missing, are not of this network, or have another shape or type.
    """
    variables = dict(nnx.to_flat_state(nnx.state(network)))
    is_torch = source != "keras"
    head = _classifier_names(network, source)
    wanted = {entry.name: entry for entry in entries_of(network, source)}
    if any(isinstance(arrays, list) for arrays in found.values()):
        found = keras_file.entries(cast(keras_file.Layers, found), dict.fromkeys((*wanted, *head)))
    shapes = {
        entry.name: public_shape(variables[entry.path].get_value().shape, entry, is_torch) for entry in wanted.values()
    }
    is_fresh = network.classifier is not None and _other_classes(found, shapes, *head, axis=0 if is_torch else -1)
    ignored = set(head) if is_fresh or network.classifier is None else set()
    problems = _problems(
        {name: shape for name, shape in shapes.items() if name not in ignored},
        {name: array for name, array in found.items() if name not in ignored and not _is_counter(name, wanted)},
    )
    if problems:
        raise WeightsError(f"{where} is not of this network:\n" + "\n".join(problems))
    arrays = {
        entry.path: from_public(np.asarray(found[entry.name]), variables[entry.path].get_value().shape, is_torch)
        for entry in wanted.values()
        if entry.name not in ignored
    }
    if is_fresh:
        classes = found[head[1]].shape[0]
        warnings.warn(
            f"{where} classifies {classes} classes, not {network.config.num_classes}: the classifier is drawn afresh",
            FreshClassifierWarning,
            stacklevel=3,
        )
    _set(variables, arrays, rngs)
    nnx.update(network, nnx.from_flat_state(list(variables.items())))


def emptied(network: Network, source: Source) -> dict[str, np.ndarray]:
    """Returns all that a network holds as the entries of a checkpoint."""
    is_torch = source != "keras"
    variables = dict(nnx.to_flat_state(nnx.state(network)))
    found: dict[str, np.ndarray] = {}
    for entry in entries_of(network, source):
        array = np.asarray(variables[entry.path].get_value())
        found[entry.name] = to_public(array, public_shape(array.shape, entry, is_torch), is_torch)
        if entry.is_counted:
            found[_counter(entry.name)] = np.zeros((), np.int64)
    return found


def _counter(name: str) -> str:
    return f"{name.rpartition('.')[0]}.num_batches_tracked"


def _is_counter(name: str, wanted: Mapping[str, Entry]) -> bool:
    prefix, _, last = name.rpartition(".")
    return last == "num_batches_tracked" and f"{prefix}.running_var" in wanted


def _other_classes(
    found: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], kernel: str, bias: str, *, axis: int
) -> bool:
    """Whether the checkpoint's classifier differs in nothing but its number of classes, which this axis has."""
    if kernel not in found or bias not in found or found[bias].ndim != 1:
        return False
    theirs, ours = list(found[kernel].shape), list(shapes[kernel])
    if theirs == ours or len(theirs) != len(ours) or theirs[axis] != found[bias].shape[0]:
        return False
    theirs[axis] = ours[axis]
    return theirs == ours


def _problems(shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, Any]) -> list[str]:
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
