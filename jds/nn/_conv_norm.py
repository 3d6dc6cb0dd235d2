"""A convolution with what follows it: the unit that the blocks of mobile networks are made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
from flax import nnx

from jds.nn._affine import as_epilogue
from jds.nn._arguments import check_activation, check_features
from jds.nn._conv import DepthwiseConv, PointwiseConv, operands
from jds.nn._halves import Half, at_once
from jds.nn._layer_config import DEFAULT_CONFIG, LayerConfig
from jds.nn._mixed_conv import MixedConv
from jds.ops._conv import conv, depthwise_conv, pointwise_conv
from jds.ops._fused_block import Activation


class ConvNorm(nnx.Module):
    """A convolution over two spatial axes, a normalization and an activation; folded, one equation.

    Args:
      in_features, out_features: numbers of channels.
      kernel_size: height and width of the filters.
      kernel_sizes: in its place, those of filters that share the channels out, as in MixNet,
        https://arxiv.org/abs/1907.09595; None for none.
      strides, kernel_dilation: the same for both axes.
      depthwise: whether each channel has a filter of its own; `out_features` must then be `in_features`.
      activation: after the normalization; None for none.
      use_norm: False for a convolution with a bias instead.
      config: normalization, padding and dtypes.
      rngs: gives the key `params`.

    Raises:
      ValueError: a number is not positive, or a depthwise layer's numbers of channels differ.
      TypeError: the activation is no function.

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
        strides: int = 1,
        kernel_dilation: int = 1,
        depthwise: bool = False,
        activation: Activation | None = None,
        use_norm: bool = True,
        config: LayerConfig = DEFAULT_CONFIG,
        rngs: nnx.Rngs,
    ):
        sizes = (kernel_size,) if kernel_sizes is None else tuple(kernel_sizes)
        check_features("ConvNorm", in_features=in_features, out_features=out_features, strides=strides)
        check_features("ConvNorm", kernel_dilation=kernel_dilation)
        for size in sizes:
            check_features("ConvNorm", **{"kernel_size" if kernel_sizes is None else "kernel_sizes": size})
        check_activation("ConvNorm", activation=activation)
        if depthwise and in_features != out_features:
            raise ValueError(
                "ConvNorm: with depthwise=True `out_features` must be `in_features`, got "
                f"in_features={in_features} and out_features={out_features}"
            )

        def make(part_in: int, part_out: int, size: int) -> Any:
            return _make_conv(part_in, part_out, size, strides, kernel_dilation, depthwise, not use_norm, config, rngs)

        self.conv: Any = (
            make(in_features, out_features, sizes[0])
            if len(sizes) == 1
            else MixedConv(in_features, out_features, sizes, make=make)
        )
        self.norm: Callable[[jax.Array], jax.Array] | None = nnx.data(
            config.norm(out_features, rngs=rngs) if use_norm else None
        )
        self.activation = activation
        self.implementation = config.implementation

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the layer to `(batch, height, width, in_features)`."""
        if isinstance(self.conv, MixedConv):
            return in_turn(self.conv(inputs), self.norm, self.activation)
        return convolve(self.conv, inputs, self.norm, self.activation, self.implementation)


def in_sequence(depthwise: ConvNorm, pointwise: ConvNorm, inputs: jax.Array) -> jax.Array:
    """Applies two layers, as one equation where both are folded."""
    first, second = (Half(layer.conv, layer.norm, layer.activation) for layer in (depthwise, pointwise))
    out = at_once(first, second, inputs)
    return pointwise(depthwise(inputs)) if out is None else out


def in_turn(inputs: jax.Array, *steps: Callable[[jax.Array], jax.Array] | None) -> jax.Array:
    """Applies steps one after the other; None is none."""
    for step in steps:
        inputs = inputs if step is None else step(inputs)
    return inputs


def _make_conv(
    in_features: int,
    out_features: int,
    size: int,
    strides: int,
    kernel_dilation: int,
    depthwise: bool,
    use_bias: bool,
    config: LayerConfig,
    rngs: nnx.Rngs,
) -> nnx.Module:
    shared: dict[str, Any] = {
        "use_bias": use_bias,
        "dtype": config.dtype,
        "param_dtype": config.param_dtype,
        "kernel_init": config.kernel_init,
        "rngs": rngs,
    }
    if size == 1 and not depthwise:
        return PointwiseConv(in_features, out_features, strides=strides, implementation=config.implementation, **shared)
    window: dict[str, Any] = {
        "kernel_size": (size, size),
        "strides": (strides, strides),
        "kernel_dilation": (kernel_dilation, kernel_dilation),
    }
    window["padding"] = config.pads(**window)
    if depthwise:
        return DepthwiseConv(in_features, **window, implementation=config.implementation, **shared)
    return nnx.Conv(in_features, out_features, **window, **shared)


def convolve(
    layer: Any,
    inputs: jax.Array,
    norm: Callable[[jax.Array], jax.Array] | None = None,
    activation: Activation | None = None,
    implementation: Any = None,
) -> jax.Array:
    """Applies a convolution and what follows it, by jds's functions; as one equation once the norm is folded."""
    inputs, kernel, bias = operands(layer, inputs)
    ending = as_epilogue(norm, bias, kernel.dtype)
    scale, bias = (None, bias) if ending is None else ending
    shared = {"scale": scale, "bias": bias, "activation": None if ending is None else activation}
    if isinstance(layer, nnx.Conv):
        options: dict[str, Any] = {name: getattr(layer, name) for name in ("strides", "padding", "kernel_dilation")}
        out = conv(inputs, kernel, **options, **shared, implementation="xla" if implementation == "xla" else None)
    else:
        shared |= {"strides": layer.strides, "implementation": layer.implementation}
        if isinstance(layer, PointwiseConv):
            out = pointwise_conv(inputs, kernel, **shared)
        else:
            options = {"padding": layer.padding, "kernel_dilation": layer.kernel_dilation}
            out = depthwise_conv(inputs, kernel, **options, **shared)
    return in_turn(out, norm, activation) if ending is None else out
