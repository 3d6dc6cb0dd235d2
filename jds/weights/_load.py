"""Fills a network from a checkpoint's entries, and vice versa."""

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
    """Returns the names, shapes and dtypes of all entries of a network's checkpoint, in the source's order.

    Args:
      network: a network with arrays, or an abstract one from `nnx.eval_shape`.
      source: the package that defines the names.
    """
    naming = NAMINGS[source]
    variables = dict(nnx.to_flat_state(nnx.state(network)))
    found = {}
    for entry in naming.entries(network):
        like = variables[entry.path].get_value()
        found[entry.name] = jax.ShapeDtypeStruct(naming.layout.public_shape(like.shape, entry), like.dtype)
    return found


def fill(network: Network, found: Found, source: Source, where: str, rngs: nnx.Rngs) -> None:
    """Sets the variables of an abstract network from a checkpoint.

    If the checkpoint has no classifier, or one for another number of classes, the classifier is re-initialized with a
    warning; if the network has no classifier, the checkpoint's is ignored. If images do not have three channels, the
    stem's kernels are summed or repeated, as in timm.

    Args:
      network: an abstract network from `nnx.eval_shape`; it is changed only if the checkpoint is valid.
      found: the checkpoint's entries.
      source: the package that defines their names.
      where: where they are from, for error messages.
      rngs: provides the `params` key for a new classifier, and the `dropout` key.

    Raises:
      WeightsError: entries are missing or unexpected, have the wrong shape or dtype, or contain values such as NaN.
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
        text = f"the names in {where} are not {source}'s: its entries were matched by order, and all shapes fit"
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
    """Returns the entries not read from the checkpoint, and the reason if some of them are re-initialized."""
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
    """Returns the entries under the network's names, and whether they were matched only by order."""
    if found.layers is not None:
        if source != "keras":
            raise MismatchError(
                f"{where} is a Keras file, but the network uses {source}'s names; see the networks named `keras/…`"
            )
        # The file may have a classifier even if the network has none.
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
    """Returns the stem's kernels, converted from three image channels to another number."""
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
    """Sums a kernel for one channel; repeats it and scales it down for more, as in https://timm.fast.ai."""
    kernel = np.asarray(np.asarray(array), np.float32)
    if channels == 1:
        return kernel.sum(axis, keepdims=True)
    return kernel.take(np.arange(channels) % 3, axis) * (3 / channels)


def _read(
    arrays: Mapping[Entry, Any], variables: Mapping[Any, Any], layout: Layout, where: str
) -> dict[VariablePath, np.ndarray]:
    """Reads all arrays, and converts them to the layout and dtypes of the variables."""
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
    """Returns the variables of a network as the entries of a checkpoint."""
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
    """Whether the checkpoint's classifier differs only in its number of classes, which is the size of `axis`."""
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
    """Returns the names, the first few with the most similar name of the same shape."""

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
            # `jnp.asarray` would compile a program for each shape.
            variable.set_value(jax.device_put(arrays[path]))
        elif isinstance(variable, nnx.RngKey):
            variable.set_value(rngs.dropout())
        elif isinstance(variable, nnx.Param) and len(expected.shape) > 1:
            draw = jax.nn.initializers.lecun_normal()
            variable.set_value(draw(rngs.params(), expected.shape, expected.dtype))
        else:
            variable.set_value(jnp.zeros(expected.shape, expected.dtype))
