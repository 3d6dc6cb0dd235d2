"""Core ML, https://developer.apple.com/machine-learning/core-ml: packages for iOS 18, macOS 15 and later."""

from jds.exporting.coreml._model import convert as convert
from jds.exporting.coreml._session import open as open
