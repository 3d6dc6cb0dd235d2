"""A public network as data, and the conventions of the packages that the public networks come from."""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

from jds.models._config import BatchNormConfig, NetworkConfig
from jds.models._network import Network
from jds.models._preprocessing import HALF as HALF
from jds.models._preprocessing import Interpolation, Preprocessing

Source = Literal["timm", "torchvision", "keras"]
"""The package whose names a network's weights have."""


class Variant(NamedTuple):
    """A public network.

    Attributes:
      name: its public name: timm's as it is, others after their source, as in `"keras/MobileNet"`.
      network: its class.
      config: its architecture and options.
      preprocessing: what its public weights expect of images.
      source: the package whose names its weights have.
    """

    name: str
    network: type[Network]
    config: NetworkConfig
    preprocessing: Preprocessing
    source: Source


class Convention(NamedTuple):
    """Padding and batch normalization of a package's networks: fields of `NetworkConfig`."""

    padding: Literal["SAME", "TORCH"]
    epsilon: float
    momentum: float
    unbiased_variance: bool


# padding, epsilon, momentum, unbiased variance
PYTORCH = Convention("TORCH", 1e-5, 0.9, True)
TORCHVISION_TENSORFLOW_PORT = Convention("TORCH", 1e-3, 0.99, True)
TIMM_TENSORFLOW_PORT = Convention("SAME", 1e-3, 0.9, True)


def _in_convention(config: NetworkConfig, convention: Convention) -> NetworkConfig:
    if not isinstance(config, BatchNormConfig):
        return dataclasses.replace(config, padding=convention.padding)
    return dataclasses.replace(config, **convention._asdict())


def timm(name: str, network: type[Network], config: NetworkConfig, **preprocessing: Any) -> Variant:
    """A network of timm's own: PyTorch's padding and batch normalization.

    Args:
      name, network, config: as in `Variant`; the convention's fields of the config are set.
      **preprocessing: fields of `Preprocessing` that are not its defaults.
    """
    return Variant(name, network, _in_convention(config, PYTORCH), Preprocessing(**preprocessing), "timm")


def timm_tf(name: str, network: type[Network], config: NetworkConfig, **preprocessing: Any) -> Variant:
    """A TensorFlow network that timm ported: TensorFlow's padding and epsilon, PyTorch's momentum.

    Args:
      name, network, config, **preprocessing: as in `timm`.
    """
    return Variant(name, network, _in_convention(config, TIMM_TENSORFLOW_PORT), Preprocessing(**preprocessing), "timm")


def torchvision(
    name: str,
    network: type[Network],
    config: NetworkConfig,
    *,
    image_size: int = 224,
    resize: int = 256,
    interpolation: Interpolation = "bilinear",
    convention: Convention = PYTORCH,
) -> Variant:
    """A network of torchvision's: PyTorch's padding and batch normalization.

    Args:
      name, network, config: as in `Variant`; the convention's fields of the config are set.
      image_size: height and width that are cut out of the resized image's middle.
      resize: pixels that the image's shorter side is resized to.
      interpolation: of the resizing.
      convention: padding and batch normalization.
    """
    ready = Preprocessing(image_size, image_size / resize, interpolation)
    return Variant(name, network, _in_convention(config, convention), ready, "torchvision")


torchvision_tf = functools.partial(torchvision, convention=TORCHVISION_TENSORFLOW_PORT)
"""A network of torchvision's with TensorFlow's epsilon and momentum."""


def keras(name: str, network: type[Network], config: NetworkConfig, **preprocessing: Any) -> Variant:
    """A network of Keras's, whose padding and batch normalization are the defaults of `NetworkConfig`.

    `keras.utils.load_img(file, target_size=...)` resizes the whole image, and takes the nearest pixels by default.

    Args:
      name, network, config: as in `Variant`.
      **preprocessing: other fields of `Preprocessing` that are not its defaults.
    """
    ready = Preprocessing(crop=1.0, interpolation="nearest", crop_mode="squash", **preprocessing)
    return Variant(name, network, config, ready, "keras")
