"""Calls with an epilogue, and the same computations written out."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

import jds


class Fused(NamedTuple):
    """A call with an epilogue: shapes of inputs and kernels, and in `extras` the names of scales and biases."""

    name: str
    function: str
    inputs: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    extras: tuple[str, ...]
    options: dict
    activations: dict

    def __str__(self):
        return self.name

    def call(self, inputs, *arrays, implementation=None):
        """Runs the function on inputs, kernels and extras, in this order."""
        kernels, extras = arrays[: len(self.kernels)], arrays[len(self.kernels) :]
        return getattr(jds, self.function)(
            inputs,
            *kernels,
            **dict(zip(self.extras, extras, strict=True)),
            **self.options,
            **self.activations,
            implementation=implementation,
        )

    def steps(self, inputs, *arrays, implementation="xla"):
        """The same computation written out, one operation after the other."""
        named = dict(zip(self.extras, arrays[len(self.kernels) :], strict=True)) | self.activations
        halves = ["depthwise_", "pointwise_"] if self.function == "separable_conv" else [""]
        out = inputs
        for half, kernel in zip(halves, arrays, strict=False):
            convolve = getattr(jds, f"{half}conv" if half else self.function)
            out = convolve(out, kernel, **({} if half == "pointwise_" else self.options), implementation=implementation)
            shape = (1,) * (out.ndim - 1) + (-1,)
            if half + "scale" in named:
                out = out * named[half + "scale"].reshape(shape)
            if half + "bias" in named:
                out = out + named[half + "bias"].reshape(shape)
            out = named.get(half + "activation", lambda x: x)(out)
        return out

    def arrays(self, dtype=jnp.float32, seed=0):
        """Random operands."""
        rng = np.random.default_rng(seed)
        features = {"pointwise": self.kernels[-1][-1]}
        shapes = [self.inputs, *self.kernels]
        shapes += [(features.get(name.split("_")[0], self.kernels[0][-1]),) for name in self.extras]
        return tuple(jax.device_put(rng.standard_normal(shape).astype(dtype)) for shape in shapes)


SEPARABLE_EXTRAS = ("depthwise_bias", "pointwise_bias")
BLOCKS = (
    Fused(
        "separable",
        "separable_conv",
        (4, 6, 5, 4),
        ((3, 3, 1, 4), (1, 1, 4, 6)),
        SEPARABLE_EXTRAS,
        {"strides": 2},
        {"depthwise_activation": jax.nn.silu, "pointwise_activation": jax.nn.hard_swish},
    ),
    Fused(
        "separable, all of it",
        "separable_conv",
        (4, 7, 3),
        ((3, 1, 6), (1, 6, 2)),
        ("depthwise_scale", "depthwise_bias", "pointwise_scale", "pointwise_bias"),
        {"padding": "CAUSAL"},
        {"depthwise_activation": jax.nn.sigmoid},
    ),
    Fused("ordinary", "conv", (4, 6, 5, 3), ((3, 3, 3, 4),), ("bias",), {"strides": 2}, {"activation": jax.nn.silu}),
    Fused("depthwise, scale", "depthwise_conv", (4, 6, 5, 4), ((3, 3, 1, 4),), ("scale",), {}, {}),
    Fused("pointwise", "pointwise_conv", (4, 3, 3, 4), ((1, 1, 4, 5),), ("bias",), {}, {"activation": jax.nn.sigmoid}),
    Fused("depthwise", "depthwise_conv", (4, 6, 5, 4), ((3, 3, 1, 8),), ("bias",), {}, {"activation": jax.nn.gelu}),
)
SEPARABLE, WHOLE, _, SCALED, POINTWISE, _ = BLOCKS
# Named explicitly, because the default would leave the ordinary convolution to XLA.
IMPLEMENTATIONS = (None, "xla", "shifted")


def count(fun, *arguments):
    """Numbers of fused ops in the jaxpr, and of convolutions outside of them."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            if equation.primitive.name != "fused_conv":
                for inner in jaxprs_in_params(equation.params):
                    yield from walk(inner)

    names = list(walk(jax.make_jaxpr(fun)(*arguments).jaxpr))
    return names.count("fused_conv"), names.count("conv_general_dilated")


def assert_equal(got, want, tolerance=1e-10):
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)
    chex.assert_trees_all_close(got, want, rtol=tolerance, atol=tolerance)


def sum_of(f):
    return lambda *a: jnp.sum(jnp.sin(f(*a)))


def all_of(arrays):
    return tuple(range(len(arrays)))
