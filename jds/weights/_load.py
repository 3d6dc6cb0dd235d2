"""Fills a network from a checkpoint's entries, and the other way round."""

import difflib
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jds.models import Network
from jds.models._variant import Source
from jds.weights import _keras_match, _match
from jds.weights._entries import Entry, VariablePath
from jds.weights._errors import FreshClassifierWarning, MismatchError, OrderWarning, WeightsError, printable
from jds.weights._found import Found
from jds.weights._layout import Layout
from jds.weights._lazy import LazyArray, Shape
from jds.weights._naming import NAMINGS

_LISTED = 10
_VARIANCES = ("running_var", "moving_variance")


def shapes_of(network: Network, source: Source) -> dict[str, jax.ShapeDtypeStruct]:
    """The names, shapes and dtypes of all entries of a network's checkpoint, in the source's order.

    Args:
      network: with arrays, or as `nnx.eval_shape` makes it.
      source: the package whose names they have.
    """
    naming = NAMINGS[source]
    variables = dict(nnx.to_flat_state(nnx.state(network)))
    found = {}
    for entry in naming.entries(network):
        like = variables[entry.path].get_value()
        found[entry.name] = jax.ShapeDtypeStruct(naming.layout.public_shape(like.shape, entry), like.dtype)
    return found


def fill(network: Network, found: Found, source: Source, where: str, rngs: nnx.Rngs) -> None:
    """Gives a network without arrays those of a checkpoint.

    A classifier that the checkpoint does not have, or has for another number of classes, is re-initialized, with a
    warning; what the checkpoint has for a network that is to have none is left out. The kernels of the stem are summed
    or repeated for images of other than three channels, as timm does.

    Args:
      network: as `nnx.eval_shape` makes it; it is changed only if all is well.
      found: the checkpoint's entries.
      source: whose names they have.
      where: they are from, for messages.
      rngs: provides the `params` key for a new classifier, and the `dropout` key.

    Raises:
      WeightsError: entries are missing, unexpected, of the wrong shape or dtype, or have values such as NaN.
    """
    naming = NAMINGS[source]
    layout = naming.layout
    variables = dict(nnx.to_flat_state(nnx.state(network)))
    entries = {entry.name: entry for entry in naming.entries(network)}
    wanted = {
        name: layout.public_shape(variables[entry.path].get_value().shape, entry) for name, entry in entries.items()
    }
    head = naming.classifier(network)
    top = {*(entry.name for entry in head), *(name for name in entries if _layer(name) in naming.top(network))}
    arrays, is_by_order = _matched(found, wanted, head, top, source, where)
    arrays = {name: array for name, array in arrays.items() if not _is_counter(name, entries)}
    arrays |= _of_other_channels(arrays, entries, wanted, network.config.in_features, layout.in_axis)
    left_out, fresh = _fresh(network, arrays, wanted, head, top, layout.out_axis)
    problems = _problems(
        {name: shape for name, shape in wanted.items() if name not in left_out},
        {name: array for name, array in arrays.items() if name not in left_out},
    )
    if problems:
        raise MismatchError(f"{where} does not match this network:\n" + "\n".join(problems))
    kept = {entry: arrays[name] for name, entry in entries.items() if name not in left_out}
    _set(variables, _read(kept, variables, layout, where), rngs)
    nnx.update(network, nnx.from_flat_state(list(variables.items())))
    if is_by_order:
        text = f"{where} has other names than {source}'s: its entries are taken in their order, where all shapes fit"
        warnings.warn(text, OrderWarning, stacklevel=3)
    if fresh:
        text = f"{where} {fresh}, which must be trained"
        warnings.warn(text, FreshClassifierWarning, stacklevel=3)


def _fresh(
    network: Network,
    arrays: Mapping[str, Any],
    wanted: Mapping[str, Shape],
    head: tuple[Entry, Entry],
    top: set[str],
    axis: int,
) -> tuple[set[str], str]:
    """The entries that are not taken from a checkpoint, and why some of them are re-initialized, if they are."""
    kernel, bias = (entry.name for entry in head)
    if network.classifier is not None and _is_of_others(arrays, wanted, kernel, bias, axis=axis):
        classes = arrays[bias].shape[0]
        return {
            kernel,
            bias,
        }, f"has {classes} classes, not {network.config.num_classes}; re-initializing the classifier"
    ours = [name for name in wanted if name in top]
    if ours and not any(name in arrays for name in ours):
        return top, f"has no {', '.join(sorted({*map(_layer, ours)}))}; re-initializing it"
    return {kernel, bias} if network.classifier is None else set(), ""


def _layer(name: str) -> str:
    return name.partition("/")[0] if "/" in name else name.rpartition(".")[0]


def _matched(
    found: Found, wanted: dict[str, Shape], head: tuple[Entry, Entry], top: set[str], source: Source, where: str
) -> tuple[dict[str, Any], bool]:
    """The entries by the names of the network's own, and whether they were matched by their order alone."""
    if found.layers is not None:
        if source != "keras":
            raise MismatchError(f"{where} is a file of Keras, and the network has names of {source}: see `keras/…`")
        # Of a network without classifier, the file may have one.
        kernel, bias = head
        wanted = wanted | {kernel.name: wanted.get(kernel.name, (1,) * (kernel.rank or 2))}
        wanted = wanted | {bias.name: wanted.get(bias.name, (1,))}
        return _keras_match.entries(found.layers, wanted, {*map(_layer, top)}), False
    needed = [name for name in wanted if name not in top]
    arrays = _match.without_prefix(found.arrays, needed)
    if found.is_ordered and not any(name in arrays for name in needed):
        ordered = _match.by_order(arrays, wanted, top)
        if ordered is not None:
            return ordered, True
    return arrays, False


def _of_other_channels(
    arrays: Mapping[str, Any], entries: Mapping[str, Entry], wanted: Mapping[str, Shape], channels: int, axis: int
) -> dict[str, LazyArray]:
    """The stem's kernels of weights for images of three channels, for those of another number."""
    changed = {}
    for name, entry in entries.items():
        ours = wanted[name]
        if entry.path[0] != "stem" or channels == 3 or len(ours) != 4 or name not in arrays:
            continue
        if arrays[name].shape == (*ours[:axis], 3, *ours[axis + 1 :]) and ours[axis] == channels:
            array = arrays[name]
            changed[name] = LazyArray(ours, array.dtype, lambda array=array: _channels(array, channels, axis))
    return changed


def _channels(array: Any, channels: int, axis: int) -> np.ndarray:
    """Summed for one channel; repeated, and smaller accordingly, for more: https://timm.fast.ai."""
    kernel = np.asarray(np.asarray(array), np.float32)
    if channels == 1:
        return kernel.sum(axis, keepdims=True)
    return kernel.take(np.arange(channels) % 3, axis) * (3 / channels)


def _read(
    arrays: Mapping[Entry, Any], variables: Mapping[Any, Any], layout: Layout, where: str
) -> dict[VariablePath, np.ndarray]:
    """Reads all arrays in the layout and of the dtypes of the variables."""
    found, not_finite, negative = {}, [], []
    for entry, array in arrays.items():
        like = variables[entry.path].get_value()
        with np.errstate(over="ignore"):
            values = layout.from_public(np.asarray(array), like.shape).astype(like.dtype)
        if not np.isfinite(values.astype(np.float32) if values.dtype.itemsize < 4 else values).all():
            not_finite.append(f"{entry.name} as {values.dtype}")
        elif entry.name.endswith(_VARIANCES) and (values < 0).any():
            negative.append(entry.name)
        found[entry.path] = values
    problems = _listed((("with NaN or infinity", not_finite), ("negative variances", negative)))
    if problems:
        raise WeightsError(f"{where} has values that cannot be weights:\n" + "\n".join(problems))
    return found


def emptied(network: Network, source: Source) -> dict[str, np.ndarray]:
    """Returns all that a network holds as the entries of a checkpoint."""
    naming = NAMINGS[source]
    layout = naming.layout
    variables = dict(nnx.to_flat_state(nnx.state(network)))
    found: dict[str, np.ndarray] = {}
    for entry in naming.entries(network):
        array = np.asarray(variables[entry.path].get_value())
        found[entry.name] = layout.to_public(array, layout.public_shape(array.shape, entry))
        if entry.is_counted:
            found[_counter(entry.name)] = np.zeros((), np.int64)
    return found


def _counter(name: str) -> str:
    return f"{name.rpartition('.')[0]}.num_batches_tracked"


def _is_counter(name: str, wanted: Mapping[str, Entry]) -> bool:
    prefix, _, last = name.rpartition(".")
    return last == "num_batches_tracked" and f"{prefix}.running_var" in wanted


def _is_of_others(found: Mapping[str, Any], wanted: Mapping[str, Shape], kernel: str, bias: str, *, axis: int) -> bool:
    """Whether the checkpoint's classifier differs in nothing but its number of classes, which this axis has."""
    if kernel not in found or bias not in found or found[bias].ndim != 1:
        return False
    theirs, ours = list(found[kernel].shape), list(wanted[kernel])
    if theirs == ours or len(theirs) != len(ours) or theirs[axis] != found[bias].shape[0]:
        return False
    theirs[axis] = ours[axis]
    return theirs == ours


def _problems(wanted: Mapping[str, Shape], found: Mapping[str, Any]) -> list[str]:
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    both = [name for name in wanted if name in found]
    return _listed(
        (
            ("missing", _with_nearest(missing, unexpected, wanted, found)),
            ("unexpected", _with_nearest(unexpected, missing, wanted, found)),
            (
                "with the wrong shape",
                [f"{n} is {found[n].shape}, not {wanted[n]}" for n in both if found[n].shape != wanted[n]],
            ),
            (
                "with the wrong dtype",
                [
                    f"{name} is {found[name].dtype}, not floating point"
                    for name in both
                    if not jnp.issubdtype(found[name].dtype, jnp.floating)
                ],
            ),
        )
    )


def _listed(kinds: Iterable[tuple[str, list[str]]]) -> list[str]:
    return [
        f"{len(names)} {what}: {', '.join(names[:_LISTED])}{', …' if len(names) > _LISTED else ''}"
        for what, names in kinds
        if names
    ]


def _with_nearest(
    names: list[str], others: Collection[str], wanted: Mapping[str, Shape], found: Mapping[str, Any]
) -> list[str]:
    """The names, the first ones with that of the same shape which they are most like."""

    def shape(name: str) -> Shape:
        return wanted[name] if name in wanted else found[name].shape

    shown = [*map(printable, names)]
    for place, name in enumerate(names[:_LISTED]):
        near = difflib.get_close_matches(name, [other for other in others if shape(other) == shape(name)], n=1)
        shown[place] += f" (is it {printable(near[0])}?)" if near else ""
    return shown


def _set(variables: Mapping[Any, Any], arrays: Mapping[VariablePath, np.ndarray], rngs: nnx.Rngs) -> None:
    for path, variable in variables.items():
        expected = variable.get_value()
        if path in arrays:
            variable.set_value(jnp.asarray(arrays[path]))
        elif isinstance(variable, nnx.RngKey):
            variable.set_value(rngs.dropout())
        elif isinstance(variable, nnx.Param) and len(expected.shape) > 1:
            draw = jax.nn.initializers.lecun_normal()
            variable.set_value(draw(rngs.params(), expected.shape, expected.dtype))
        else:
            variable.set_value(jnp.zeros(expected.shape, expected.dtype))
