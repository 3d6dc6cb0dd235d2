"""Reads the `config.json` that timm stores next to weights: https://huggingface.co/docs/timm/hf_hub."""

import dataclasses
import json
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jds.models._preprocessing import RULES, Preprocessing
from jds.weights import _files
from jds.weights._errors import WeightsError

NAME = "config.json"
_MOST_BYTES = 2**26
# timm's keys and the corresponding fields.
_FIELDS = {"crop_pct": "crop", "crop_mode": "crop_mode", "interpolation": "interpolation", "mean": "mean", "std": "std"}


@dataclasses.dataclass(frozen=True)
class PretrainedConfig:
    """Metadata of weights; unknown fields are None or empty.

    Attributes:
      architecture: name of the network.
      num_classes: number of classes.
      labels: names of the classes by index.
      preprocessing: preprocessing of images.
    """

    architecture: str | None = None
    num_classes: int | None = None
    labels: Mapping[int, str] = dataclasses.field(default_factory=dict)
    preprocessing: Preprocessing | None = None


def read(weights: Any) -> PretrainedConfig:
    """Reads the `config.json` of weights.

    Args:
      weights: as in `create_model`. A Hugging Face repository or a folder may have a `config.json`; so may the folder
        of a file named `model.safetensors`, the name used in repositories.

    Returns:
      Its contents; empty if there is no `config.json`.

    Raises:
      WeightsError: it is damaged or invalid.
      OSError: it cannot be read or downloaded.
    """
    path = _path(weights)
    if path is None:
        return PretrainedConfig()
    if path.stat().st_size > _MOST_BYTES:
        raise WeightsError(f"{path} must have at most {_MOST_BYTES:,} bytes, got {path.stat().st_size:,}")
    return parse(path.read_bytes(), f"{weights}/{NAME}" if _files.is_repository(weights) else str(path))


def _path(weights: Any) -> Path | None:
    if not isinstance(weights, str | Path):
        return None
    if _files.is_repository(weights):
        try:
            return _files.fetch(str(weights), NAME)
        except FileNotFoundError:
            return None
    path = Path(weights)
    folder = path.parent if path.name == _files.IN_REPOSITORY else path
    return folder / NAME if (folder / NAME).exists() else None


def parse(text: bytes, where: str) -> PretrainedConfig:
    """Reads the text of a `config.json`.

    Args:
      text: the JSON text.
      where: where it is from, for error messages.

    Returns:
      Its contents.

    Raises:
      WeightsError: it is damaged or invalid; the message names the key.

    Example:
      >>> from jds.weights._pretrained_config import parse
      >>> text = b'{"architecture": "mobilenetv2_100", "num_classes": 3, "pretrained_cfg": {"crop_pct": 0.9}}'
      >>> parse(text, "config.json").preprocessing.crop
      0.9
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{where} is not valid JSON: {error}") from None
    outer = _Values(config, where)
    inner = outer.of("pretrained_cfg", "an object", lambda value: isinstance(value, dict), config)
    # As in timm, the outer object takes precedence.
    values = _Values(inner | config, where)
    count = values.of("num_classes", "an int of at least 0", lambda value: _is_int(value) and value >= 0)
    labels = _labels(values, count)
    return PretrainedConfig(
        values.of("architecture", "a string", lambda value: isinstance(value, str)),
        count if count is not None or not labels else max(labels) + 1,
        labels,
        _preprocessing(_Values(inner, where)),
    )


def to_timm(preprocessing: Preprocessing) -> dict[str, Any]:
    """Returns the `pretrained_cfg` of a `config.json` that describes this preprocessing.

    Example:
      >>> import jds
      >>> from jds.weights._pretrained_config import to_timm
      >>> to_timm(jds.create_model("mobilenetv3_small_050").preprocessing)["input_size"]
      [3, 224, 224]
    """
    size = preprocessing.image_size
    fields = {key: getattr(preprocessing, field) for key, field in _FIELDS.items()}
    return {"input_size": [len(preprocessing.mean), size, size], **fields}


class _Values:
    """The entries of a JSON object, which are checked on access."""

    def __init__(self, values: Any, where: str):
        if not isinstance(values, dict):
            raise WeightsError(f"{where} must contain a JSON object, got {reprlib.repr(values)}")
        self.values, self.where = values, where

    def of(self, key: str, rule: str, holds: Callable[[Any], bool], default: Any = None) -> Any:
        value = self.values.get(key)
        if value is None:
            return default
        if not holds(value):
            raise WeightsError(f"{self.where}: `{key}` must be {rule}, got {reprlib.repr(value)}")
        return value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _preprocessing(values: _Values) -> Preprocessing | None:
    if all(values.values.get(key) is None for key in ("input_size", *_FIELDS)):
        return None
    rule = "[1 or 3 channels, height, width] with an equal height and width from 1 to 8192"
    channels, size, _ = values.of("input_size", rule, _is_square, (3, 224, 224))
    # Missing values get timm's defaults, not those of the named network.
    fields: dict[str, Any] = {"image_size": size}
    for key, field in _FIELDS.items():
        rule, holds = RULES[field]
        value = values.of(key, rule, lambda value, holds=holds: holds(_pythonic(value)))
        if value is not None:
            fields[field] = _pythonic(value)
    for field in ("mean", "std"):
        given = fields.get(field, getattr(Preprocessing, field))
        fields[field] = given * channels if len(given) == 1 else given
        if len(fields[field]) != channels:
            rule = f"a list of one number per channel of `input_size`, which has {channels}"
            raise WeightsError(f"{values.where}: `{field}` must be {rule}, got {list(given)}")
    return Preprocessing(**fields)


def _pythonic(value: Any) -> Any:
    """Converts a list to a tuple, and ints to floats."""
    if isinstance(value, list):
        return tuple(map(_pythonic, value))
    return float(value) if _is_int(value) and abs(value) < 1e9 else value


def _is_square(value: Any) -> bool:
    rule = RULES["image_size"][1]
    return (
        isinstance(value, list)
        and len(value) == 3
        and value[0] in (1, 3)
        and all(_is_int(side) and rule(side) for side in value)
        and value[1] == value[2]
    )


def _labels(values: _Values, count: int | None) -> dict[int, str]:
    """Returns the class names, from a list or an object keyed by index; synsets get timm's descriptions."""
    rule = "a list of `num_classes` strings, or an object with the class indices as its keys"
    key = "labels" if values.values.get("label_names") is None else "label_names"
    names = values.of(key, rule, lambda value: _numbered(value, count) is not None, [])
    described = values.of("label_descriptions", "an object of strings", _are_described, {})
    return {number: described.get(name, name) for number, name in (_numbered(names, None) or {}).items()}


def _are_described(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _numbered(names: Any, count: int | None) -> dict[int, str] | None:
    """Returns the class names by index, or None unless there is exactly one name per class."""
    if isinstance(names, dict):
        if not all(key.isascii() and key.isdecimal() and len(key) < 10 for key in names):
            return None
        numbered = {int(key): name for key, name in names.items()}
    elif isinstance(names, list) and count in (None, len(names)):
        numbered = dict(enumerate(names))
    else:
        return None
    fits = all(isinstance(name, str) for name in numbered.values())
    return numbered if fits and (count is None or all(number < count for number in numbered)) else None
