"""The base of all networks: a stem, stages of blocks, global average pooling, and a classifier."""

from typing import Any, NamedTuple

import jax
from flax import nnx

from jds.models._arguments import checked_images
from jds.models._config import NetworkConfig
from jds.models._initialize import draw_kernels, zeros
from jds.models._preprocessing import Preprocessing
from jds.models._stages import Feature, Stages
from jds.nn import LayerConfig, Linear, global_mean


class Parts(NamedTuple):
    """The modules of a network.

    Attributes:
      stem: the module before the stages.
      stages: the blocks and their feature maps.
      out_features: number of features before the classifier.
      head: the module after the last stage, or None.
      neck: the module after the pooling, or None.
    """

    stem: nnx.Module
    stages: Stages
    out_features: int
    head: nnx.Module | None = None
    neck: nnx.Module | None = None


class _ConstantStream(nnx.RngStream):
    """A random stream with a constant key, for initializers that ignore the key.

    `nnx.RngStream` derives each key from a counter. Doing this for every parameter of a network takes longer than
    everything else in building it.
    """

    def __call__(self) -> jax.Array:
        return self.key[...]


class _QuickStream(nnx.RngStream):
    """A random stream that counts in another way, to the same keys.

    `nnx.RngStream` assigns to a part of its counter, for which Flax prints all of the program that is traced.
    """

    def __call__(self) -> jax.Array:
        key = jax.random.fold_in(self.key[...], self.count[...])
        self.count.set_value(self.count[...] + 1)
        return key


def _quick(stream: nnx.RngStream) -> nnx.RngStream:
    """Returns a random stream with the key and the counter of another one."""
    quick = _QuickStream(stream.key[...], tag=stream.tag)
    quick.key, quick.count = stream.key, stream.count
    return quick


def _constant_keys(rngs: nnx.Rngs) -> nnx.Rngs:
    """Returns random streams for layers whose kernels stay zero until `draw_kernels` draws all of them at once."""
    constant: Any = nnx.Rngs(0)
    constant.params = _ConstantStream(jax.random.key(0), tag="params")
    constant.dropout = _quick(rngs.dropout)
    return constant


class Network(nnx.Module):
    """A network that classifies images, or returns feature maps for other tasks.

    Args:
      config: the architecture and its options.
      rngs: provides the `params` key and, for dropout and stochastic depth, the `dropout` key.

    Example:
      >>> import jds
      >>> issubclass(jds.models.MobileNetV2, jds.models.Network)
      True
    """

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs):
        self.config: Any = config
        self.preprocessing: Preprocessing | None = None
        self.source: Any = None
        self.name: str | None = None

        constant = _constant_keys(rngs)
        parts = self._parts(config, config.layer_config, constant)
        self.feature_info: tuple[Feature, ...] = parts.stages.feature_info
        self.ends: tuple[int, ...] = parts.stages.ends
        self.out_features: int = parts.out_features
        self.stem: Any = parts.stem
        self.stages: Any = parts.stages.blocks
        self.head: Any = nnx.data(parts.head)
        self.neck: Any = nnx.data(parts.neck)
        self.dropout: Any = nnx.data(nnx.Dropout(config.dropout, rngs=constant) if config.dropout else None)
        self.classifier: Any = nnx.data(self._classifier(config, parts.out_features, constant))
        draw_kernels(self, _quick(rngs.params)())

    @staticmethod
    def _classifier(config: NetworkConfig, features: int, rngs: nnx.Rngs) -> nnx.Linear | None:
        if not config.num_classes:
            return None
        return Linear(
            features,
            config.num_classes,
            dtype=config.dtype,
            param_dtype=config.param_dtype,
            kernel_init=zeros,
            rngs=rngs,
        )

    @staticmethod
    def _parts(config: Any, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        """Makes the modules of the network."""
        raise NotImplementedError

    def preprocess(self, image: Any) -> jax.Array:
        """Converts images to the input that the network's weights expect.

        The steps are defined by `self.preprocessing`, a `jds.models.Preprocessing`, which may be replaced.

        Args:
          image: a `PIL.Image.Image`, an array `(height, width)`, `(height, width, channels)` or
            `(n, height, width, channels)`, or a list of images; see `Preprocessing`.

        Returns:
          `(n, image_size, image_size, 3)`, float32; n is 1 for a single image.

        Raises:
          ValueError: the network was not made by `jds.create_model`, or the image has a wrong shape or values out of
            range.
          TypeError: `image` is not an image.
        """
        if self.preprocessing is None:
            raise ValueError(
                "preprocess: the network was not made by `jds.create_model`; set `model.preprocessing` first"
            )
        return self.preprocessing(image)

    def features(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the last feature map of each stride, as listed in `feature_info`.

        With a smaller `output_stride` the number of maps is the same; the last ones then share a stride, as in timm.

        Args:
          images: `(batch, height, width, in_features)`.

        Returns:
          One array `(batch, ceil(height / stride), ceil(width / stride), features)` per entry of `feature_info`; odd
          sizes are rounded as `padding` dictates.

        Raises:
          ValueError, TypeError: the images have another shape, or are not floating-point.
        """
        return self._maps(images)

    def _maps(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the feature maps, of which the last is classified."""
        x = self.stem(checked_images(type(self).__name__, images, self.config.in_features))
        maps = {-1: x}
        for number, stage in enumerate(self.stages):
            for block in stage:
                x = block(x)
            maps[number] = x
        return tuple(maps[number] for number in self.ends)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Classifies `(batch, height, width, in_features)` to logits `(batch, num_classes)`.

        Raises:
          ValueError, TypeError: the images have another shape, or are not floating-point.
        """
        x = self._maps(images)[-1]
        x = x if self.head is None else self.head(x)
        x = global_mean(x)
        x = x if self.neck is None else self.neck(x)
        x = x.reshape(x.shape[0], x.shape[3])  # -1 would be ambiguous for an empty batch
        for step in (self.dropout, self.classifier):
            x = x if step is None else step(x)
        return x


def count_parameters(model: nnx.Module) -> int:
    """Counts the parameters of a model, excluding running statistics.

    Args:
      model: a model with arrays, or an abstract one, as from `nnx.eval_shape`.

    Returns:
      Their number.

    Example:
      >>> import jds
      >>> from flax import nnx
      >>> jds.count_parameters(nnx.Linear(3, 5, rngs=nnx.Rngs(0)))
      20
    """
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
