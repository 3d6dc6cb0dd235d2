"""A convolution with what follows it: the unit that the blocks of mobile networks are made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
from flax import nnx

from jds.nn.conv import DepthwiseConv, PointwiseConv, check_features, operands
from jds.nn.halves import are_one_call, at_once
from jds.nn.mixed import MixedConv
from jds.nn.style import DEFAULT_STYLE, Style
from jds.ops.block import Activation
from jds.ops.conv import conv, depthwise_conv, pointwise_conv


class ConvNorm(nnx.Module):
    """A convolution over two spatial axes, a normalisation and an activation; folded, one equation.

    Args:
      in_features, out_features: numbers of channels.
      kernel_size: height and width of the filters; several of them share the channels out, as in MixNet,
        https://arxiv.org/abs/1907.09595.
      strides, kernel_dilation: the same for both axes.
      depthwise: whether each channel has a filter of its own; `out_features` then are `in_features`.
      activation: after the normalisation; None for none.
      has_norm: False for a convolution with a bias instead.
      style: normalisation, padding and dtypes.
      rngs: gives the key `params`.

    Raises:
      ValueError: a number is not positive.

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
        kernel_size: int | Sequence[int] = 1,
        *,
        strides: int = 1,
        kernel_dilation: int = 1,
        depthwise: bool = False,
        activation: Activation | None = None,
        has_norm: bool = True,
        style: Style = DEFAULT_STYLE,
        rngs: nnx.Rngs,
    ):
        check_features("ConvNorm", in_features=in_features, out_features=out_features, strides=strides)

        def make(part_in: int, part_out: int, size: int) -> Any:
            return _make_conv(part_in, part_out, size, strides, kernel_dilation, depthwise, not has_norm, style, rngs)

        sizes = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
        self.conv: Any = (
            make(in_features, out_features, sizes[0])
            if len(sizes) == 1
            else MixedConv(in_features, out_features, sizes, make)
        )
        self.norm: Callable[[jax.Array], jax.Array] | None = nnx.data(
            style.norm(out_features, rngs=rngs) if has_norm else None
        )
        self.activation = activation
        self.implementation = style.implementation

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Applies the layer to `(batch, height, width, in_features)`."""
        if isinstance(self.conv, MixedConv):
            out = self.conv(inputs)
        elif self.norm is None:
            return convolve(self.conv, inputs, self.activation, self.implementation)
        else:
            out = convolve(self.conv, inputs, implementation=self.implementation)
        for step in (self.norm, self.activation):
            out = out if step is None else step(out)
        return out


def in_sequence(depthwise: ConvNorm, pointwise: ConvNorm, inputs: jax.Array) -> jax.Array:
    """Applies two layers, as one equation where both are folded."""
    has_norm = depthwise.norm is not None or pointwise.norm is not None
    if not has_norm and are_one_call(depthwise.conv, pointwise.conv):
        return at_once(depthwise.conv, pointwise.conv, inputs, depthwise.activation, pointwise.activation)
    return pointwise(depthwise(inputs))


def _make_conv(
    in_features: int,
    out_features: int,
    size: int,
    strides: int,
    kernel_dilation: int,
    depthwise: bool,
    use_bias: bool,
    style: Style,
    rngs: nnx.Rngs,
) -> nnx.Module:
    shared: dict[str, Any] = {
        "use_bias": use_bias,
        "dtype": style.dtype,
        "param_dtype": style.param_dtype,
        "kernel_init": style.kernel_init,
        "rngs": rngs,
    }
    if size == 1 and not depthwise:
        return PointwiseConv(in_features, out_features, strides=strides, implementation=style.implementation, **shared)
    window: dict[str, Any] = {
        "kernel_size": (size, size),
        "strides": (strides, strides),
        "kernel_dilation": (kernel_dilation, kernel_dilation),
    }
    window["padding"] = style.pads(**window)
    if depthwise:
        return DepthwiseConv(in_features, **window, implementation=style.implementation, **shared)
    return nnx.Conv(in_features, out_features, **window, **shared)


def convolve(
    layer: Any, inputs: jax.Array, activation: Activation | None = None, implementation: Any = None
) -> jax.Array:
    """Applies a convolution, its bias and an activation as one equation, by jds's functions."""
    if isinstance(layer, nnx.Conv):
        options: dict[str, Any] = {name: getattr(layer, name) for name in ("strides", "padding", "kernel_dilation")}
        bias = None if layer.bias is None else layer.bias[...]
        inputs, kernel, bias = layer.promote_dtype((inputs, layer.kernel[...], bias), dtype=layer.dtype)
        return conv(
            inputs,
            kernel,
            **options,
            bias=bias,
            activation=activation,
            implementation="xla" if implementation == "xla" else None,
        )
    inputs, kernel, bias = operands(layer, inputs)
    shared = {"strides": layer.strides, "bias": bias, "activation": activation, "implementation": layer.implementation}
    if isinstance(layer, PointwiseConv):
        return pointwise_conv(inputs, kernel, **shared)
    return depthwise_conv(inputs, kernel, padding=layer.padding, kernel_dilation=layer.kernel_dilation, **shared)
