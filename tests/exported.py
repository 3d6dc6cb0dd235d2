"""What exported files are compared with."""

import jax
import numpy as np
from flax import nnx
from jax import lax
from networks import SMALLEST

import jds
from checks.exports import vary


def network(name, **options):
    """A short network whose parameters differ from channel to channel, so that none is folded away."""
    model = jds.create_model(name, **SMALLEST[name], **options)
    vary(model)
    return model


def for_inference(model):
    """A copy in evaluation mode, folded and merged."""
    evaluated = nnx.clone(model)
    evaluated.eval()
    return jds.reparameterize(evaluated)


def groups_of(model, image_size):
    """The number of groups of each convolution, as the network is exported."""
    images = np.zeros((1, image_size, image_size, model.config.in_features), np.float32)
    jaxpr = jds.expand_jaxpr(jax.make_jaxpr(for_inference(model))(images))
    return [e.params["feature_group_count"] for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]


def convolution(kernel, **options):
    """A function that convolves images."""

    def fun(x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, **{"window_strides": (1, 1), "padding": "SAME"} | options, dimension_numbers=numbers
        )

    return fun
