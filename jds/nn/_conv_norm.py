"""A convolution, its normalization and its activation: the building block of mobile networks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
from flax import nnx

from jds.nn._apply import ConvStep
from jds.nn._arguments import check_activation, check_features
from jds.nn._conv import DepthwiseConv, OrdinaryConv, PointwiseConv
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig, Window
from jds.nn._mixed_conv import MixedConv
from jds.ops._fused_block import Activation
from jds.ops._geometry import canonical_tuple


class ConvNorm(nnx.Module):
    """A 2-D convolution, a normalization and an activation; a single fused op once the normalization is folded.

    Args:
      in_features, out_features: numbers of channels.
      kernel_size: height and width of the filters.
      kernel_sizes: one size per group of channels, as in MixNet, https://arxiv.org/abs/1907.09595; overrides
        `kernel_size` unless it is None.
      strides, kernel_dilation: an int for both axes, or one per axis.
      depthwise: whether each channel has its own filter; `out_features` must then be `in_features`.
      activation: activation after the normalization, or None.
      use_norm: whether to normalize; if False, the convolution has a bias instead.
      config: normalization, padding, dtypes and implementation.
      rngs: provides the `params` key.

    Raises:
      ValueError: a number is not positive, or a depthwise layer's numbers of channels differ.
      TypeError: the activation is not a function.

    Example:
      >>> import jax, jax.numpy as jnp, jds
      >>> from flax import nnx
      >>> layer = jds.nn.ConvNorm(3, 8, 3, strides=2, activation=jax.nn.relu, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 32, 32, 3))).shape
      (1, 16, 16, 8)
    """

    foldable_norms: ClassVar[Mapping[str, str]] = {"norm": "conv"}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int = 1,
        *,
        kernel_sizes: Sequence[int] | None = None,
        strides: int | Sequence[int] = 1,
        kernel_dilation: int | Sequence[int] = 1,
        depthwise: bool = False,
        activation: Activation | None = None,
        use_norm: bool = True,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        sizes = (kernel_size,) if kernel_sizes is None else tuple(kernel_sizes)
        check_features("ConvNorm", in_features=in_features, out_features=out_features)
        for size in sizes:
            check_features("ConvNorm", **{"kernel_size" if kernel_sizes is None else "kernel_sizes": size})
        check_activation("ConvNorm", activation=activation)
        strides = canonical_tuple("ConvNorm", "strides", strides, 2)
        kernel_dilation = canonical_tuple("ConvNorm", "kernel_dilation", kernel_dilation, 2)
        if depthwise and in_features != out_features:
            raise ValueError(
                "ConvNorm: with depthwise=True `out_features` must equal `in_features`, got "
                f"in_features={in_features} and out_features={out_features}"
            )

        def make(part_in: int, part_out: int, size: int) -> Any:
            window = Window((size, size), strides, kernel_dilation)
            return make_conv(
                part_in, part_out, window, depthwise=depthwise, config=config, use_bias=not use_norm, rngs=rngs
            )

        self.conv: Any = (
            make(in_features, out_features, sizes[0])
            if len(sizes) == 1
            else MixedConv(in_features, out_features, sizes, make=make)
        )
        self.norm: Callable[[jax.Array], jax.Array] | None = nnx.data(
            config.norm(out_features, rngs=rngs) if use_norm else None
        )
        self.activation = activation

    @property
    def step(self) -> ConvStep:
        """The layer as data, which allows applying it together with the next one."""
        return ConvStep(self.conv, self.norm, self.activation)

    def __call__(self, inputs: jax.Array, *, skip: jax.Array | None = None) -> jax.Array:
        """Applies the layer to `(batch, height, width, in_features)`; adds `skip` to the result unless it is None."""
        return self.step(inputs, skip=skip)


def make_conv(
    in_features: int, out_features: int, window: Window, *, depthwise: bool, config: LayerConfig, **options: Any
) -> Any:
    """Makes the convolution for a window: depthwise, pointwise or ordinary.

    Args:
      in_features, out_features: numbers of channels.
      window: size and strides of the filter.
      depthwise: whether each channel has its own filter.
      config: padding and dtypes.
      **options: `use_bias` and `rngs`.
    """
    shared: dict[str, Any] = {
        "dtype": config.dtype,
        "param_dtype": config.param_dtype,
        "kernel_init": config.kernel_init,
        "implementation": config.implementation,
        **options,
    }
    if max(window.kernel_size) == 1 and not depthwise:
        return PointwiseConv(in_features, out_features, strides=window.strides, **shared)
    shared |= window._asdict()
    shared["padding"] = config.pads(*window)
    if depthwise:
        return DepthwiseConv(in_features, **shared)
    return OrdinaryConv(in_features, out_features, **shared)
