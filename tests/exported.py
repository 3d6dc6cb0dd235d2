"""What exported files are compared with."""

import functools

from flax import nnx
from jax import lax
from networks import SMALLEST

import jds
from checks.exports import vary


def network(name, **options):
    """A short network whose parameters differ from channel to channel, so that none is folded away."""
    return nnx.clone(_network(name, **options))


@functools.cache
def _network(name, **options):
    model = jds.create_model(name, **SMALLEST[name], **options)
    vary(model)
    return model


def for_inference(model):
    """A copy in evaluation mode, folded and merged."""
    evaluated = nnx.clone(model)
    evaluated.eval()
    return jds.reparameterize(evaluated)


def convolution(kernel, **options):
    """A function that convolves images."""

    def fun(x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, **{"window_strides": (1, 1), "padding": "SAME"} | options, dimension_numbers=numbers
        )

    return fun
