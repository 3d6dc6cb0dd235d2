"""MobileNet V1: Howard et al., MobileNets, https://arxiv.org/abs/1704.04861."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jds.cost import Layer
from jds.models.initialise import draw_kernels
from jds.nn import BatchNorm, SeparableConv
from jds.nn.conv import check_features
from jds.nn.separable import Norm
from jds.ops.conv import conv
from jds.ops.dispatch import Implementation


class Row(NamedTuple):
    """One block of table 1."""

    features: int
    stride: int


# Table 1: the first convolution, then 13 blocks. Features are at width 1.
STEM = Row(32, 2)
# features, stride
BLOCKS = (
    Row(64, 1),
    Row(128, 2),
    Row(128, 1),
    Row(256, 2),
    Row(256, 1),
    Row(512, 2),
    *[Row(512, 1)] * 5,
    Row(1024, 2),
    Row(1024, 1),
)

batch_norm = functools.partial(BatchNorm, momentum=0.99, epsilon=1e-3)


class MobileNetV1(nnx.Module):
    """MobileNet V1, or its twin of ordinary convolutions.

    A 3×3 convolution of stride 2, 13 depthwise separable blocks with batch normalisation and ReLU after each half, the
    mean over all positions, and a linear classifier. With `separable=False` each block is one ordinary 3×3
    convolution instead: the network of the paper's table 4. From MobileNets, https://arxiv.org/abs/1704.04861.

    Args:
      width: the paper's width multiplier: each number of features is multiplied by it and rounded to a multiple of 8.
      num_classes: outputs of the classifier; 0 for none, the features then being the output.
      in_features: channels of the images.
      separable: False for the twin of ordinary convolutions.
      stem_stride: stride of the first convolution; 1 suits small images.
      norm: makes a normalisation, called as `norm(features, rngs=rngs)`.
      dtype: of the computation; None for the common dtype of inputs and parameters. The normalisation has its own.
      param_dtype: of the parameters of convolutions and classifier.
      implementation: of the blocks, as in `jds.separable_conv`; "xla" is for the ordinary convolutions too.
      rngs: gives the key `params`.

    Raises:
      ValueError: an argument breaks a rule.

    Example:
      >>> import jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> model = jds.models.MobileNetV1(width=0.25, num_classes=10, rngs=nnx.Rngs(0))
      >>> model.eval()
      >>> nnx.jit(type(model).__call__)(model, jnp.ones((1, 64, 64, 3))).shape
      (1, 10)
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        num_classes: int = 1000,
        in_features: int = 3,
        separable: bool = True,
        stem_stride: int = STEM.stride,
        norm: Norm = batch_norm,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        implementation: Implementation | None = None,
        rngs: nnx.Rngs,
    ):
        check_features("MobileNetV1", in_features=in_features, stem_stride=stem_stride)
        if not width > 0:
            raise ValueError(f"MobileNetV1: `width` must be positive, got {width!r}")
        if not isinstance(num_classes, int | np.integer) or num_classes < 0:
            raise ValueError(f"MobileNetV1: `num_classes` must be an int of at least 0, got {num_classes!r}")

        @nnx.jit  # eagerly, each parameter would be a program of its own
        def build(rngs: nnx.Rngs):
            ordinary: Implementation | None = "xla" if implementation == "xla" else None
            shared = {"dtype": dtype, "param_dtype": param_dtype, "kernel_init": nnx.initializers.zeros, "rngs": rngs}
            features = round_features(STEM.features * width)
            stem = ConvNormRelu(in_features, features, stem_stride, norm, implementation=ordinary, **shared)
            blocks = nnx.List()
            for row in BLOCKS:
                wider = round_features(row.features * width)
                if separable:
                    block = SeparableConv(
                        features,
                        wider,
                        (3, 3),
                        strides=row.stride,
                        depthwise_norm=norm,
                        depthwise_activation=jax.nn.relu,
                        pointwise_norm=norm,
                        pointwise_activation=jax.nn.relu,
                        use_bias=False,
                        implementation=implementation,
                        **shared,
                    )
                else:
                    block = ConvNormRelu(features, wider, row.stride, norm, implementation=ordinary, **shared)
                blocks.append(block)
                features = wider
            classifier = [nnx.Linear(features, num_classes, **shared)] if num_classes else []
            parts: nnx.List[Any] = nnx.List([stem, blocks, *classifier])
            draw_kernels(parts, rngs)
            return parts

        self.stem, self.blocks, *classifier = build(rngs)
        self.classifier = nnx.data(classifier[0] if classifier else None)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Classifies `(batch, height, width, in_features)` to logits `(batch, num_classes)`."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        x = x.mean((-3, -2))
        return x if self.classifier is None else self.classifier(x)


class ConvNormRelu(nnx.Module):
    """An ordinary 3×3 convolution with a normalisation and ReLU; folded, one call of `jds.conv`."""

    foldable_norms: ClassVar[Mapping[str, str]] = {"norm": "conv"}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stride: int,
        norm: Norm,
        *,
        implementation: Implementation | None,
        rngs: nnx.Rngs,
        **shared: Any,
    ):
        self.conv = nnx.Conv(in_features, out_features, (3, 3), stride, use_bias=False, rngs=rngs, **shared)
        self.norm: Callable[[jax.Array], jax.Array] | None = norm(out_features, rngs=rngs)
        self.stride = stride
        self.implementation: Implementation | None = implementation

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the layer to `(batch, height, width, in_features)`."""
        layer = self.conv
        bias = None if layer.bias is None else layer.bias[...]
        inputs, kernel, bias = layer.promote_dtype((inputs, layer.kernel[...], bias), dtype=layer.dtype)
        options = {"strides": self.stride, "bias": bias, "implementation": self.implementation}
        if self.norm is None:
            return conv(inputs, kernel, activation=jax.nn.relu, **options)
        return jax.nn.relu(self.norm(conv(inputs, kernel, **options)))


def layers(
    *,
    image_size: int = 224,
    width: float = 1.0,
    num_classes: int = 1000,
    in_features: int = 3,
    stem_stride: int = STEM.stride,
) -> tuple[Layer, ...]:
    """Lists the layers that multiply, as data to count and to time: `jds.cost.multiplications(layers())`.

    Args:
      image_size: height and width of the images.
      width, num_classes, in_features, stem_stride: as in `MobileNetV1`.

    Returns:
      The first convolution, the blocks, each of them separable, and the classifier, if there is one.

    Raises:
      ValueError: a size is not positive.

    Example:
      >>> from jds.models import mobilenet_v1
      >>> [layer.name for layer in mobilenet_v1.layers()][-2:]
      ['block 13', 'classifier']
    """
    rows = [Row(STEM.features, stem_stride), *BLOCKS]
    network: list[Layer] = []
    size = (image_size, image_size, in_features)
    for number, row in enumerate(rows):
        network.append(
            Layer(
                f"block {number}" if number else "stem",
                size,
                round_features(row.features * width),
                (3, 3),
                strides=row.stride,
                separable=number > 0,
            )
        )
        size = network[-1].output_size
    if num_classes:
        network.append(Layer("classifier", (1, 1, size[-1]), num_classes, (1, 1), separable=False))
    return tuple(network)


def round_features(features: float) -> int:
    """Rounds to a multiple of 8, but at least 8 and never to less than 0.9 of it, as the authors' code does."""
    rounded = max(8, int(features + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * features else rounded + 8
