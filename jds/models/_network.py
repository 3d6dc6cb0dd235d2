"""The base of all networks: a stem, stages of blocks, global average pooling, and a classifier."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jds.models._arguments import check_fields, checked_images
from jds.models._initialize import draw_kernels
from jds.models._preprocessing import Preprocessing
from jds.nn import BatchNorm, Implementation, LayerConfig
from jds.nn._separable import MakeNorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Options shared by all networks. Each network has its own config, with its rows and more.

    Attributes:
      num_classes: outputs of the classifier; 0 for none, the features then being the output.
      in_features: channels of the images.
      dropout: drop rate of the features before the classifier.
      drop_path: drop rate of the last block in training; it grows linearly along the blocks.
        From stochastic depth, https://arxiv.org/abs/1603.09382.
      output_stride: stride of the last feature map: 32, or 16 or 8 with dilated filters in place of strides.
      padding: `"SAME"` as TensorFlow has it, or `"TORCH"` as PyTorch.
      dtype: of the computation; None for the common dtype of images and parameters.
      param_dtype: of the parameters.
      implementation: of the depthwise and pointwise convolutions, as in `jds.depthwise_conv`. Ordinary convolutions,
        such as the stem, take only `"xla"` from it.

    Raises:
      ValueError, TypeError: a value breaks a rule.

    Example:
      >>> import dataclasses, jds
      >>> config = jds.models.MobileNetV2Config(num_classes=10)
      >>> dataclasses.replace(config, output_stride=16).num_classes
      10
    """

    num_classes: int = 1000
    in_features: int = 3
    dropout: float = 0.0
    drop_path: float = 0.0
    output_stride: int = 32
    padding: Literal["SAME", "TORCH"] = "SAME"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    implementation: Implementation | None = None

    def __post_init__(self):
        check_fields(self)

    @property
    def layer_config(self) -> LayerConfig:
        """Options shared by all layers. Kernels are zero: they are drawn afterwards, all at once."""
        return LayerConfig(
            padding=self.padding,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=nnx.initializers.zeros,
            implementation=self.implementation,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNormConfig(NetworkConfig):
    """Options shared by the networks with batch normalization: all but ConvNeXt.

    Attributes:
      epsilon, momentum: of the batch normalizations.
      unbiased_variance: whether their running variances are unbiased, as PyTorch's are; Keras's and Flax's are not.
      norm: makes the normalization to use in place of batch normalization, called as `norm(features, rngs=rngs)`.

    Raises:
      ValueError, TypeError: a value breaks a rule.

    Example:
      >>> import jds
      >>> issubclass(jds.models.MobileNetV2Config, jds.models.BatchNormConfig)
      True
    """

    epsilon: float = 1e-3
    momentum: float = 0.99
    unbiased_variance: bool = False
    norm: MakeNorm | None = None

    @property
    def layer_config(self) -> LayerConfig:
        """Options shared by all layers."""
        batch_norm = functools.partial(
            BatchNorm,
            epsilon=self.epsilon,
            momentum=self.momentum,
            unbiased_variance=self.unbiased_variance,
            dtype=self.dtype,
        )
        return dataclasses.replace(super().layer_config, norm=self.norm or batch_norm)


class Feature(NamedTuple):
    """A feature map that `Network.features` returns: its stride in pixels, and its channels.

    Example:
      >>> import jds
      >>> from flax import nnx
      >>> nnx.eval_shape(lambda: jds.create_model("mobilenetv1_100")).feature_info[0]
      Feature(stride=2, features=64)
    """

    stride: int
    features: int


class Placement(NamedTuple):
    """What a block's place in the network decides."""

    strides: int
    kernel_dilation: int
    drop_path: float


@runtime_checkable
class BlockRow(Protocol):
    """A row of a paper's table: a block."""

    @property
    def features(self) -> int:
        """Channels of its output."""
        ...

    @property
    def strides(self) -> int:
        """Of its depthwise step."""
        ...


R = TypeVar("R", bound=BlockRow)


class Stages(NamedTuple):
    """The stages of a network, and the feature maps that they give.

    Attributes:
      blocks: for each stage its blocks, as `nnx.List`s.
      feature_info: stride and channels of each map.
      ends: the stage after which each map is taken; -1 is the stem.
    """

    blocks: Any
    feature_info: tuple[Feature, ...]
    ends: tuple[int, ...]

    def with_last(self, block: nnx.Module, features: int) -> "Stages":
        """Adds a stage of one block without strides, whose output replaces the last map."""
        blocks = nnx.List([*self.blocks, nnx.List([block])])
        info = (*self.feature_info[:-1], self.feature_info[-1]._replace(features=features))
        return Stages(blocks, info, (*self.ends[:-1], len(blocks) - 1))


class Parts(nnx.Module):
    """The modules of a network.

    Args:
      stem: before the stages.
      stages: the blocks and their maps.
      head: after the last stage; None for nothing.
      neck: after the mean; None for nothing.
      out_features: channels before the classifier.
    """

    def __init__(
        self,
        stem: nnx.Module,
        stages: Stages,
        *,
        head: nnx.Module | None = None,
        neck: nnx.Module | None = None,
        out_features: int,
    ):
        self.stem, self.stages = stem, stages.blocks
        self.feature_info, self.ends = stages.feature_info, stages.ends
        self.head, self.neck = nnx.data(head), nnx.data(neck)
        self.dropout: nnx.Dropout | None = nnx.data(None)
        self.classifier: nnx.Linear | None = nnx.data(None)
        self.out_features = out_features


class _ConstantStream(nnx.RngStream):
    """A stream of one key, for initializers that need none.

    `nnx.RngStream` derives each key from a count; tracing that for every parameter takes an eighth more time to build
    EfficientNet-B0.
    """

    def __call__(self) -> jax.Array:
        return self.key[...]


def _constant_keys(rngs: nnx.Rngs) -> nnx.Rngs:
    """Random numbers for layers whose parameters are constants until `draw_kernels` draws all kernels at once."""
    constant: Any = nnx.Rngs(0)
    constant.params = _ConstantStream(jax.random.key(0), tag="params")
    constant.dropout = rngs.dropout
    return constant


class Network(nnx.Module):
    """A network that classifies images, or gives the maps of features for other uses.

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

        @nnx.jit  # run eagerly, the initializer of each shape would be compiled as a program of its own
        def build(rngs: nnx.Rngs) -> Parts:
            constant = _constant_keys(rngs)
            parts = self._parts(config, config.layer_config, constant)
            if config.dropout:
                parts.dropout = nnx.Dropout(config.dropout, rngs=constant)
            if config.num_classes:
                parts.classifier = nnx.Linear(
                    parts.out_features,
                    config.num_classes,
                    dtype=config.dtype,
                    param_dtype=config.param_dtype,
                    kernel_init=nnx.initializers.zeros,
                    rngs=constant,
                )
            draw_kernels(parts, rngs)
            return parts

        parts = build(rngs)
        self.feature_info: tuple[Feature, ...] = parts.feature_info
        self.ends: tuple[int, ...] = parts.ends
        self.out_features: int = parts.out_features
        self.stem: Any = parts.stem
        self.stages: Any = parts.stages
        self.head: Any = nnx.data(parts.head)
        self.neck: Any = nnx.data(parts.neck)
        self.dropout: Any = nnx.data(parts.dropout)
        self.classifier: Any = nnx.data(parts.classifier)

    @staticmethod
    def _parts(config: Any, layer_config: LayerConfig, rngs: nnx.Rngs) -> Parts:
        """Makes the pieces."""
        raise NotImplementedError

    def preprocess(self, image: Any) -> jax.Array:
        """Converts images to the input that the network's weights expect.

        The steps are those of `self.preprocessing`, a `jds.models._preprocessing.Preprocessing`; another may be set.

        Args:
          image: a `PIL.Image.Image`, an array `(height, width)`, `(height, width, channels)` or
            `(n, height, width, channels)`, or a list of images; see `Preprocessing`.

        Returns:
          `(n, image_size, image_size, 3)`, float32; n is 1 for a single image.

        Raises:
          ValueError: the network is not from `jds.create_model`; or the image has another shape, or other values.
          TypeError: it is no image.
        """
        if self.preprocessing is None:
            raise ValueError(
                "preprocess: the network was not made by `jds.create_model`; set `model.preprocessing` first"
            )
        return self.preprocessing(image)

    def features(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the last map of each stride, as `feature_info` lists them.

        A smaller `output_stride` keeps the list: its last maps then have the same stride, as timm's do.

        Args:
          images: `(batch, height, width, in_features)`.

        Returns:
          For each entry of `feature_info` an array `(batch, ceil(height / stride), ceil(width / stride), features)`;
          odd sizes are rounded as `padding` dictates.

        Raises:
          ValueError, TypeError: the images have another shape, or are not floating-point.
        """
        return self._maps(images)

    def _maps(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """The maps that the rest of the network goes on from."""
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
        x = x.mean((1, 2), keepdims=True)
        x = x if self.neck is None else self.neck(x)
        x = x.reshape(x.shape[0], x.shape[3])  # by number, so that an empty batch has it, too
        for step in (self.dropout, self.classifier):
            x = x if step is None else step(x)
        return x


def build_stages(
    config: NetworkConfig,
    features: int,
    rows: Sequence[Sequence[R]],
    make: Callable[[int, R, Placement], nnx.Module],
    *,
    stride: int = 2,
    others: int = 0,
) -> Stages:
    """Makes the blocks of a table.

    Args:
      config: of the network.
      features: channels of the stem's output.
      rows: for each stage its blocks.
      make: makes a block from its input channels, its row and its place.
      stride: of the stem.
      others: number of blocks beside the table's that count for the rates of `drop_path`.
    """
    count, number = max(1, sum(map(len, rows)) + others), 0
    plan = StridePlan(stride, config.output_stride)
    info, ends, stages = [], [], nnx.List()
    if rows[0][0].strides > 1:
        info.append(Feature(stride, features))
        ends.append(-1)
    for place, stage in enumerate(rows):
        blocks = nnx.List()
        for row in stage:
            strides, dilation = plan.next(row.strides)
            blocks.append(make(features, row, Placement(strides, dilation, config.drop_path * number / count)))
            features, number = row.features, number + 1
        stages.append(blocks)
        if place + 1 == len(rows) or rows[place + 1][0].strides > 1:
            info.append(Feature(plan.stride, features))
            ends.append(place)
    return Stages(stages, tuple(info), tuple(ends))


class StridePlan:
    """Strides and dilations along a network: from `output_stride` on, filters are dilated instead of strided.

    Args:
      stride: of the stem.
      output_stride: the largest stride of a map.
    """

    def __init__(self, stride: int, output_stride: int):
        self.stride, self.dilation, self._largest = stride, 1, output_stride

    def next(self, strides: int) -> tuple[int, int]:
        """Returns strides and dilation of the next block, whose strides are `strides` in the paper.

        `self.stride` and `self.dilation` are then those after the block.
        """
        dilation = self.dilation
        if self.stride * strides > self._largest:
            self.dilation, strides = dilation * strides, 1
        self.stride *= strides
        return strides, dilation


def count_parameters(model: nnx.Module) -> int:
    """Counts the numbers in all parameters of a model; running statistics are none.

    Args:
      model: with arrays, or without, as `nnx.eval_shape` makes it.

    Returns:
      Their number.

    Example:
      >>> import jds
      >>> from flax import nnx
      >>> jds.count_parameters(nnx.Linear(3, 5, rngs=nnx.Rngs(0)))
      20
    """
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
