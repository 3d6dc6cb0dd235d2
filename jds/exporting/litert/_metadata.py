"""LiteRT's own metadata, which Android's image classifiers need: how to normalize images, and the labels.

The schema is `metadata_schema.fbs` of TensorFlow Lite Support; https://ai.google.dev/edge/litert/models/metadata.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flatbuffers

from jds.exporting._attached import LABELS
from jds.exporting._description import Description

# The name under which a LiteRT file keeps its metadata.
NAME = "TFLITE_METADATA"
_IDENTIFIER, _PARSER_VERSION = b"M001", "1.0.0"
# Values of the schema's enums and unions.
_RGB, _GRAYSCALE = 1, 2
_IMAGE_PROPERTIES, _NORMALIZATION_OPTIONS, _TENSOR_AXIS_LABELS = 2, 1, 2


class _Byte(NamedTuple):
    value: int


class _Number(NamedTuple):
    value: int


_Field = str | _Byte | _Number | int


def metadata(description: Description) -> bytes:
    """Returns the metadata of a file with one input and one output, a flatbuffer of its own."""
    tables = _Tables()
    labels = [tables.add({0: LABELS, 1: "names of the classes", 2: _Byte(_TENSOR_AXIS_LABELS)})]
    has_labels = bool(description.labels) and description.output != "features"
    output = tables.add({0: description.output, 6: tables.list(labels if has_labels else [])})
    graph = tables.add({2: tables.list([_image(tables, description)]), 3: tables.list([output])})
    words = f"{description.name}, exported by jds. Input: images, {description.entries()['input']}."
    model = tables.add({0: description.name, 1: words, 3: tables.list([graph]), 7: _PARSER_VERSION})
    tables.builder.Finish(model, _IDENTIFIER)
    return bytes(tables.builder.Output())


def _image(tables: "_Tables", description: Description) -> int:
    preprocessing = description.preprocessing
    if preprocessing is None:
        return tables.add({0: "images"})
    side = _Number(preprocessing.image_size)
    colors = _Byte(_RGB if len(preprocessing.mean) == 3 else _GRAYSCALE)
    properties = tables.add({0: colors, 1: tables.add({0: side, 1: side})})
    content = tables.add({0: _Byte(_IMAGE_PROPERTIES), 1: properties})
    # Of pixels from 0 to 255.
    mean, std = ([255 * value for value in values] for values in (preprocessing.mean, preprocessing.std))
    units = []
    if description.pixels:
        mean, std = [0.0] * len(mean), [1.0] * len(std)
    else:
        options = tables.add({0: tables.floats(mean), 1: tables.floats(std)})
        units = [tables.add({0: _Byte(_NORMALIZATION_OPTIONS), 1: options})]
    most, least = ([(end - m) / s for m, s in zip(mean, std, strict=True)] for end in (255, 0))
    stats = tables.add({0: tables.floats(most), 1: tables.floats(least)})
    return tables.add({0: "images", 3: content, 4: tables.list(units), 5: stats})


class _Tables:
    """A flatbuffer under construction; tables and lists are known by their offsets."""

    def __init__(self):
        self.builder = flatbuffers.Builder(1024)

    def add(self, fields: Mapping[int, _Field]) -> int:
        """Adds a table with fields by their number in the schema; a number that is no `_Number` is an offset."""
        builder = self.builder
        ready = {
            field: builder.CreateString(value) if isinstance(value, str) else value for field, value in fields.items()
        }
        builder.StartObject(max(fields) + 1)
        for field, value in ready.items():
            if isinstance(value, _Byte):
                builder.PrependInt8Slot(field, value.value, 0)
            elif isinstance(value, _Number):
                builder.PrependUint32Slot(field, value.value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(field, value, 0)
        return builder.EndObject()

    def list(self, offsets: Sequence[int]) -> int:
        """Adds a list of tables."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def floats(self, values: Sequence[float]) -> int:
        """Adds a list of float32."""
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return self.builder.EndVector()
