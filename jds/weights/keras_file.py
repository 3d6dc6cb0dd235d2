"""Reads Keras's HDF5 files: `.weights.h5`, and `.h5` as `keras.applications` publishes."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jds.weights.errors import WeightsError

Layers = dict[str, list[np.ndarray]]
# Layers without a name of the network's own: Keras numbers them as they come.
_NUMBERED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")
_h5py: Any = h5py  # whose compiled parts type checkers do not know
# Entries of a file of weights, and how many times as large as the file they may be: weights hardly compress.
_MAX_LINKS, _MAX_EXPANSION = 100_000, 20
# What images go through first, and is no weight.
_IGNORED = re.compile(r"(.*_)?(normalization|prestem_normalization)(_\d+)?")


def read(path: Path) -> Layers:
    """Reads all layers of a file, each with its variables in Keras's order.

    Raises:
      WeightsError: it is no sound HDF5 file of a Keras model's weights.
      FileNotFoundError: there is none.
    """
    with open(path, "rb"):  # the library's error for a file that is not there is of another type
        pass
    try:
        with h5py.File(path, "r") as file:
            _check_closed(file)
            group: Any = file.get("model_weights", file)
            layers = _legacy(group) if "layer_names" in group.attrs else _current(file)
            return _numbered({name: arrays for name, arrays in layers.items() if arrays})
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise WeightsError(f"{path} is no sound HDF5 file of a Keras model's weights: {error}") from error


def _check_closed(file: Any) -> None:
    """Raises ValueError if the file reaches out to others of the machine, loops, or says that it holds too much."""
    size, numbers, links, todo, seen = file.id.get_filesize(), 0, 0, [file], set()
    while todo:
        group = todo.pop()
        for name in group:
            links += 1
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name!r} is a link to another place, and only what the file itself holds is read")
            item = group[name]
            address = _h5py.h5o.get_info(item.id).addr
            if address in seen or links > _MAX_LINKS:
                raise ValueError(f"{name!r} is there twice, or there are more than {_MAX_LINKS} entries")
            seen.add(address)
            if isinstance(item, h5py.Group):
                todo.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise ValueError(f"{name!r} is in another file, and only what the file itself holds is read")
                numbers += item.nbytes
    if numbers > _MAX_EXPANSION * size:
        raise ValueError(f"it is of {size} bytes and says that it holds {numbers}")


def entries(layers: Layers, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Names the variables of layers as `jds.weights.keras` does.

    Layers are found by their names or, where a file has others, as those of older versions of Keras, by their order.
    What no name is for keeps its place as its name.

    Args:
      layers: as `read` gives them.
      names: of all variables, each `layer/variable`, in Keras's order.
    """
    variables: dict[str, list[str]] = {}
    for name in names:
        layer, _, variable = name.partition("/")
        variables.setdefault(layer, []).append(variable)
    kept = {name: arrays for name, arrays in layers.items() if not _IGNORED.fullmatch(name)}
    stripped = _stripped(kept, variables)
    if stripped.keys() & variables.keys() or len(kept) != len(variables):
        by_name = stripped
    else:
        by_name = dict(zip(variables, kept.values(), strict=True))
    return {
        f"{layer}/{variables.get(layer, [])[number] if number < len(variables.get(layer, [])) else number}": array
        for layer, arrays in by_name.items()
        for number, array in enumerate(arrays)
    }


def _stripped(layers: Layers, wanted: Iterable[str]) -> Layers:
    """Without a prefix that all have, such as the network's own name."""
    known = set(wanted)
    found = {}
    for name, arrays in layers.items():
        tails = [name] if name in known else [wish for wish in known if name.endswith(f"_{wish}")]
        found[max(tails, key=len) if tails else name] = arrays
    return found


def _legacy(group: Any) -> Layers:
    layers = {}
    for name in map(_text, group.attrs["layer_names"]):
        layer = group[name]
        arrays = [np.asarray(layer[_text(weight)]) for weight in layer.attrs["weight_names"]]
        layers |= _apart(name, arrays)
    return layers


def _apart(name: str, arrays: list[np.ndarray]) -> Layers:
    """ConvNeXt's sequences of two layers, which the older kind of file has as one."""
    stem, block = re.fullmatch(r".*_stem", name), re.fullmatch(r"(.*_downsampling)_block_(\d+)", name)
    if len(arrays) == 4 and stem:
        return {f"{name}_conv": arrays[:2], f"{name}_layernorm": arrays[2:]}
    if len(arrays) == 4 and block:
        return {f"{block[1]}_layernorm_{block[2]}": arrays[:2], f"{block[1]}_conv_{block[2]}": arrays[2:]}
    return {name: arrays}


def _current(file: Any) -> Layers:
    found: Layers = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and path.endswith("/vars") and len(item):
            name = _text(item.attrs.get("name", path.split("/")[-2]))
            found[name] = [np.asarray(item[str(number)]) for number in range(len(item))]

    file.visititems(visit)
    return found


def _numbered(layers: Layers) -> Layers:
    """Counts the layers that Keras has numbered from 0."""
    numbers: dict[str, list[int]] = {}
    for name in layers:
        match = _NUMBERED.fullmatch(name)
        if match:
            numbers.setdefault(match[1], []).append(int(match[2] or 0))
    renamed = {}
    for name, arrays in layers.items():
        match = _NUMBERED.fullmatch(name)
        place = sorted(numbers[match[1]]).index(int(match[2] or 0)) if match else 0
        renamed[f"{match[1]}#{place}" if match else name] = arrays
    return renamed


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
