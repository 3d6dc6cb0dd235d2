"""LiteRT, https://ai.google.dev/edge/litert: StableHLO is converted by `litert-converter`; TensorFlow is not needed."""

from jds.exporting.litert._convert import convert as convert
from jds.exporting.litert._session import open as open
