"""Loads the networks whose weights are named on the command line."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from jds import zoo
from jds.cli._options import UsageError
from jds.models import Network
from jds.models._imagenet import LABELS, labels_of
from jds.weights import WeightsError, _pretrained_config
from jds.weights._errors import FreshClassifierWarning, OrderWarning
from jds.weights._pretrained_config import PretrainedConfig


class Words(NamedTuple):
    """How messages name what was typed.

    Attributes:
      command: the subcommand.
      model: the option that names the network.
      weights: the option that names the weights.
      rule: what to do if the network was not named.
    """

    command: str
    model: str
    weights: str
    rule: str


def load(name: str | None, weights: str, num_classes: int | None, words: Words) -> tuple[Network, Mapping[int, str]]:
    """Loads a network with its weights.

    Args:
      name: name of the network; None for the one that the weights' config.json names.
      weights: a file, a folder, or a Hugging Face repository id.
      num_classes: number of classes; None for that of the config.json, or ImageNet's 1000.
      words: for error messages.

    Returns:
      The network, in evaluation mode, and the known labels of its classes.

    Raises:
      UsageError: it cannot be loaded.
    """
    config = _checked(words, lambda: _pretrained_config.read(weights))
    classes = _num_classes(num_classes, config, weights, words)
    model = _created(name or _architecture(config, weights, words), weights, classes, words)
    model.eval()
    has_labels = classes == config.num_classes and config.labels
    return model, config.labels if has_labels else dict(enumerate(labels_of(classes)))


def _num_classes(asked: int | None, config: PretrainedConfig, weights: str, words: Words) -> int:
    if asked is not None:
        return asked
    if config.num_classes == 0:
        raise UsageError(f"{words.weights} must include a classifier; {weights} has none according to its config.json")
    return len(LABELS) if config.num_classes is None else config.num_classes


def _architecture(config: PretrainedConfig, weights: str, words: Words) -> str:
    if config.architecture in zoo.VARIANTS:
        return config.architecture
    found = "has no config.json that names one" if config.architecture is None else f"names {config.architecture!r}"
    raise UsageError(f"{words.model} {words.rule}: {weights} {found}")


def _created(name: str, weights: str, classes: int, words: Words) -> Network:
    # Checked before the weights are read.
    if fault := zoo.name_fault(name, "`jds models`"):
        raise UsageError(f"{words.model}: {fault}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OrderWarning)
        warnings.simplefilter("error", FreshClassifierWarning)
        try:
            model = _checked(words, lambda: zoo.create_model(name, weights, num_classes=classes))
        except FreshClassifierWarning as warning:
            raise UsageError(f"`--num-classes` must match the weights: {warning}") from None
        except ValueError as error:
            raise UsageError(f"{words.model}: {error}") from None
    for warning in caught:
        print(f"jds {words.command}: {warning.message}", file=sys.stderr)
    return model


T = TypeVar("T")


def _checked(words: Words, read: Callable[[], T]) -> T:
    """Returns the result of `read`, and converts its errors to `UsageError`."""
    try:
        return read()
    except WeightsError as error:
        raise UsageError(f"{words.weights}: {error}") from None
    except OSError as error:
        if error.strerror is None:
            raise UsageError(f"{words.weights}: {error}") from None
        # Python's own messages would repeat the file name at the end.
        raise UsageError(f"{words.weights} must be a readable file, got '{error.filename}': {error.strerror}") from None
