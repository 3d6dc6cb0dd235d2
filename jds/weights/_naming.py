"""How timm, torchvision and Keras name and lay out the weights of a network."""

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
    """The names and the layout of a package's checkpoints.

    Attributes:
      body: names every variable of a network that a checkpoint holds, except the classifier's, in the package's order.
      classifier: names kernel and bias of the classifier, whether the network has one or not.
      layout: of the arrays.
      top: layers that a checkpoint may not have, beside the classifier.
    """

    body: Callable[[Network], Iterator[Entry]]
    classifier: Callable[[Network], tuple[Entry, Entry]]
    layout: Layout
    top: Callable[[Network], Collection[str]] = _no_layers

    def entries(self, network: Network) -> tuple[Entry, ...]:
        """Names every variable of a network that a checkpoint holds, in the package's order."""
        return (*self.body(network), *(() if network.classifier is None else self.classifier(network)))


NAMINGS: dict[Source, Naming] = {
    "timm": Naming(_timm.entries, _timm.classifier, TorchLayout()),
    "torchvision": Naming(_torchvision.entries, _torchvision.classifier, TorchLayout()),
    "keras": Naming(_keras.entries, _keras.classifier, KerasLayout(), _keras.top),
}
