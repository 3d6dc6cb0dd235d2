"""Public networks as data, and the conventions of the packages they come from."""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

from jds.models._config import BatchNormConfig, NetworkConfig
from jds.models._network import Network
from jds.models._preprocessing import HALF as HALF
from jds.models._preprocessing import Interpolation, Preprocessing

Source = Literal["timm", "torchvision", "keras"]
"""The package that defines the names of a network's weights."""


class Variant(NamedTuple):
    """A public network.

    Attributes:
      name: public name: timm's name unchanged, others prefixed with their source, as in `"keras/MobileNet"`.
      network: class of the network.
      config: the architecture and its options.
      preprocessing: the preprocessing that its public weights expect.
      source: the package that defines the names of its weights.
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
    """Returns one of timm's own networks, with PyTorch's padding and batch normalization.

    Args:
      name, network, config: as in `Variant`; the config's padding and batch-norm fields are overridden.
      **preprocessing: fields of `Preprocessing` that differ from its defaults.
    """
    return Variant(name, network, _in_convention(config, PYTORCH), Preprocessing(**preprocessing), "timm")


def timm_tf(name: str, network: type[Network], config: NetworkConfig, **preprocessing: Any) -> Variant:
    """Returns a TensorFlow network ported by timm, with TensorFlow's padding and epsilon and PyTorch's momentum.

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
    """Returns one of torchvision's networks, with PyTorch's padding and batch normalization.

    Args:
      name, network, config: as in `Variant`; the config's padding and batch-norm fields are overridden.
      image_size: height and width of the center crop.
      resize: size in pixels that the image's shorter side is resized to.
      interpolation: resizing filter.
      convention: padding and batch normalization.
    """
    ready = Preprocessing(image_size, image_size / resize, interpolation)
    return Variant(name, network, _in_convention(config, convention), ready, "torchvision")


torchvision_tf = functools.partial(torchvision, convention=TORCHVISION_TENSORFLOW_PORT)
"""Returns one of torchvision's networks with TensorFlow's epsilon and momentum."""


def keras(name: str, network: type[Network], config: NetworkConfig, **preprocessing: Any) -> Variant:
    """Returns one of Keras's networks, whose padding and batch normalization are the defaults of `NetworkConfig`.

    `keras.utils.load_img(file, target_size=...)` resizes the whole image, by default with nearest-neighbor
    interpolation.

    Args:
      name, network, config: as in `Variant`.
      **preprocessing: other fields of `Preprocessing` that differ from its defaults.
    """
    ready = Preprocessing(crop=1.0, interpolation="nearest", crop_mode="squash", **preprocessing)
    return Variant(name, network, config, ready, "keras")
