"""The names and layouts of network weights in timm, torchvision and Keras."""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from jds.models import Network
from jds.models._variant import Source
from jds.weights import _keras, _timm, _torchvision
from jds.weights._entries import Entry
from jds.weights._layout import KerasLayout, Layout, TorchLayout


def _no_layers(network: Network) -> tuple[str, ...]:
    return ()


class Naming(NamedTuple):
    """The names and the layout used by a package's checkpoints.

    Attributes:
      body: function that yields the entries of all variables that a checkpoint stores, except the classifier's, in the
        package's order.
      classifier: function that returns the entries of the classifier's kernel and bias, even if the network has none.
      layout: layout of the arrays.
      top: function that returns the layers, other than the classifier, that may be missing from a checkpoint.
    """

    body: Callable[[Network], Iterator[Entry]]
    classifier: Callable[[Network], tuple[Entry, Entry]]
    layout: Layout
    top: Callable[[Network], Collection[str]] = _no_layers

    def entries(self, network: Network) -> tuple[Entry, ...]:
        """Returns the entries of all variables that a checkpoint stores, in the package's order."""
        return (*self.body(network), *(() if network.classifier is None else self.classifier(network)))


NAMINGS: dict[Source, Naming] = {
    "timm": Naming(_timm.entries, _timm.classifier, TorchLayout()),
    "torchvision": Naming(_torchvision.entries, _torchvision.classifier, TorchLayout()),
    "keras": Naming(_keras.entries, _keras.classifier, KerasLayout(), _keras.top),
}
