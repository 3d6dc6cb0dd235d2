"""Matches the layers of a Keras file to a network's: by name, by order, or by index within each class."""

import collections
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jds.weights._found import Layer
from jds.weights._lazy import LazyArray, Shape

# Layers that the network does not name, and that Keras numbers in order of creation.
_NUMBERED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")
# Layers without weights: input normalization, and dropout's random numbers.
_IGNORED = re.compile(r"(.*_?prestem_)?normalization(_\d+)?|seed_generator(_\d+)?")
# ConvNeXt's layers inside a `Sequential`, whose layers Keras counts separately.
_IN_SEQUENCE = re.compile(r"(stem|downsampling)_(conv|layernorm).*")


def entries(layers: Iterable[Layer], wanted: Mapping[str, Shape], top: Iterable[str]) -> dict[str, LazyArray]:
    """Assigns the names of `jds.weights._keras` to the variables of the layers.

    Keras files from 2017 have other names than today's, and some have none; these are matched by order, as Keras does,
    if all shapes fit.

    Args:
      layers: the result of `jds.weights._keras_file.read`.
      wanted: the shapes of all variables by name (`layer/variable`), in Keras's order, including those of `top`.
      top: layers that may be missing from the file, or have another number of classes.

    Returns:
      The arrays by name; an array without a matching name gets its layer's name and its index.
    """
    ours: dict[str, dict[str, Shape]] = {}
    for name, shape in wanted.items():
        layer, _, variable = name.partition("/")
        ours.setdefault(layer, {})[variable] = shape
    top = set(top) & ours.keys()
    kept = _apart([layer for layer in layers if not _IGNORED.fullmatch(layer.name)])
    by_name = _with_head(_by_name(kept, ours), ours)
    for matched in (by_name, *_by_order(kept, ours, top), _by_place(kept, ours)):
        if _fits(matched, ours, top):
            return _named(matched, ours)
    return _named(by_name, ours)


def _fits(matched: Mapping[str, list[LazyArray]], ours: Mapping[str, dict[str, Shape]], top: set[str]) -> bool:
    def shapes(layer: str) -> list[Shape]:
        return [array.shape for array in matched.get(layer, [])]

    known = all(shapes(layer) == list(variables.values()) for layer, variables in ours.items() if layer not in top)
    return known and matched.keys() <= ours.keys()


def _named(matched: Mapping[str, list[LazyArray]], ours: Mapping[str, dict[str, Shape]]) -> dict[str, LazyArray]:
    found = {}
    for layer, arrays in matched.items():
        variables = ours.get(layer, {})
        names = [*variables, *map(str, range(len(variables), len(arrays)))]
        for name, array in zip(names, arrays, strict=False):
            found[f"{layer}/{name}"] = _of_rank(array, len(variables.get(name, array.shape)))
    return found


def _of_rank(array: LazyArray, rank: int) -> LazyArray:
    """Returns the kernel of a dense classifier reshaped for a network whose classifier is a convolution."""
    if array.ndim != 2 or rank != 4:
        return array
    shape = (1, 1, *array.shape)
    return array.then(shape, lambda values: values.reshape(shape))


def _by_name(layers: list[Layer], ours: Iterable[str]) -> dict[str, list[LazyArray]]:
    """Matches layers by name, ignoring prefixes such as the network's name."""
    known = set(ours)
    found = {}
    for layer in _numbered(layers):
        name = layer.name.replace("/", "_")
        tails = [name] if name in known else [wish for wish in known if name.endswith(f"_{wish}")]
        found[max(tails, key=len) if tails else name] = layer.arrays
    return found


def _with_head(found: dict[str, list[LazyArray]], ours: Mapping[str, Any]) -> dict[str, list[LazyArray]]:
    """Uses a single dense layer with an unknown name as the classifier, which is the network's last layer."""
    head = [*ours][-1]
    others = [name for name in found if name not in ours]
    if head in found or len(others) != 1 or [array.ndim for array in found[others[0]]] != [2, 1]:
        return found
    return {head if name == others[0] else name: arrays for name, arrays in found.items()}


def _by_order(layers: list[Layer], ours: Iterable[str], top: set[str]) -> Iterator[dict[str, list[LazyArray]]]:
    if any(layer.place for layer in layers):
        return
    for names in ([*ours], [name for name in ours if name not in top]):
        if len(names) == len(layers):
            yield dict(zip(names, (layer.arrays for layer in layers), strict=True))


def _by_place(layers: list[Layer], ours: Mapping[str, dict[str, Shape]]) -> dict[str, list[LazyArray]]:
    """Matches layers by index within each class, because Keras numbers each class separately."""
    places = [layer.place for layer in layers if layer.place]
    if not places:
        return {}
    # If the network is a layer of another one, it is the layer that contains most layers.
    within = collections.Counter(place[:1] for place in places if len(place) > 1 and place[0][0] != "sequential")
    base = within.most_common(1)[0][0] if within else ()
    theirs: dict[tuple[str, ...], list[tuple[list[int], list[LazyArray]]]] = {}
    for layer in layers:
        is_outside = layer.place[: len(base)] != base  # a layer outside the network
        place = layer.place if is_outside else layer.place[len(base) :]
        numbers = [int(is_outside), *(number for _, number in place)]
        theirs.setdefault(tuple(kind for kind, _ in place), []).append((numbers, layer.arrays))
    has_sequences = any(kinds[0] == "sequential" for kinds in theirs)
    queues = {
        kinds: [arrays for _, arrays in sorted(found, key=lambda pair: pair[0])] for kinds, found in theirs.items()
    }
    matched = {}
    for name, variables in ours.items():
        kinds = ("sequential",) if has_sequences and _IN_SEQUENCE.fullmatch(name) else ()
        queue = queues.get((*kinds, _kind(variables)))
        if not queue and name == [*ours][-1]:
            queue = queues.get(("dense",))  # the classifier, which may be a convolution in the network's own files
        if queue:
            matched[name] = queue.pop(0)
    return matched if not any(queues.values()) else {}


def _kind(variables: Mapping[str, Shape]) -> str:
    """Returns the class of a layer, as Keras writes it."""
    if "gamma" in variables:
        return "batch_normalization" if "moving_mean" in variables else "layer_normalization"
    if "depthwise_kernel" in variables:
        return "separable_conv2d"
    if "variable" in variables:
        return "layer_scale"
    shape = variables["kernel"]
    if len(shape) == 2:
        return "dense"
    return "depthwise_conv2d" if shape[-1] == 1 and shape[0] > 1 else "conv2d"


def _apart(layers: list[Layer]) -> list[Layer]:
    """Splits ConvNeXt's sequences of two layers, which older weights files store as one layer."""
    found = []
    for layer in layers:
        stem = re.fullmatch(r".*_stem", layer.name)
        block = re.fullmatch(r"(.*_downsampling)_block_(\d+)", layer.name)
        first, second = layer.arrays[:2], layer.arrays[2:]
        if len(layer.arrays) == 4 and stem:
            found += [Layer(f"{layer.name}_conv", first), Layer(f"{layer.name}_layernorm", second)]
        elif len(layer.arrays) == 4 and block:
            found += [Layer(f"{block[1]}_layernorm_{block[2]}", first), Layer(f"{block[1]}_conv_{block[2]}", second)]
        else:
            found.append(layer)
    return found


def _numbered(layers: list[Layer]) -> Iterator[Layer]:
    """Renumbers the layers that Keras numbers automatically, counting from 0."""
    numbers: dict[str, list[int]] = {}
    matches = [_NUMBERED.fullmatch(layer.name) for layer in layers]
    for match in matches:
        if match:
            numbers.setdefault(match[1], []).append(int(match[2] or 0))
    for layer, match in zip(layers, matches, strict=True):
        place = sorted(numbers[match[1]]).index(int(match[2] or 0)) if match else 0
        yield layer._replace(name=f"{match[1]}#{place}") if match else layer
